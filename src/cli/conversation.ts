/** The state of a chat: messages so far, and the commands that start with a slash. */
import type { Client } from '../client/client.ts';
import { type Completion, type GenerateInput, generate } from './generation.ts';

export interface Conversation {
  /** Sends a message and streams the answer; both are remembered, unless nothing was answered. */
  ask(message: string, onText: (text: string) => void, signal: AbortSignal): Promise<Completion>;
  /** Forgets all but the system message. */
  reset(): void;
  /** Sets the system message (empty: none) and starts anew: what was said under another one would not fit. */
  setSystem(text: string): void;
}

/** A conversation with one model. */
export function createConversation(
  client: Client,
  model: string,
  asking: Pick<GenerateInput, 'sampling' | 'chat_template_kwargs'>,
  system = '',
): Conversation {
  const systemMessages = (text: string) => (text === '' ? [] : [{ role: 'system', content: text }]);
  let head = systemMessages(system);
  let messages = [...head];
  return {
    async ask(message, onText, signal) {
      const asked = [...messages, { role: 'user', content: message }];
      const completion = await generate(client, { model, messages: asked, ...asking }, onText, signal);
      if (completion.text !== '') messages = [...asked, { role: 'assistant', content: completion.text }];
      return completion;
    },
    reset() {
      messages = [...head];
    },
    setSystem(text) {
      head = systemMessages(text);
      messages = [...head];
    },
  };
}

const HELP = `/reset          forget the conversation
/system TEXT    set the system message and start anew; no text: none
/help           this help
/exit           leave (or Ctrl-D)
Ctrl-C          stop the answer`;

/** Carries out a message that is a command; undefined if it is none. */
export function slashCommand(
  message: string,
  conversation: Conversation,
): { say: string; leave?: boolean } | undefined {
  if (!message.startsWith('/')) return undefined;
  const [word, ...rest] = message.split(' ');
  switch (word) {
    case '/help':
      return { say: HELP };
    case '/exit':
      return { say: '', leave: true };
    case '/reset':
      conversation.reset();
      return { say: 'The conversation starts anew.' };
    case '/system': {
      const text = rest.join(' ').trim();
      conversation.setSystem(text);
      return {
        say: text === '' ? 'No system message.' : 'System message set; the conversation starts anew.',
      };
    }
    default:
      return { say: `There is no command ${word}; /help lists them.` };
  }
}
