/** The files of a tokenizer that was just trained, as `transformers` and `tokenizers` read them. */
import { formatTokenizerJson, type NewTokenizer } from './tokenizer_json.ts';

/** What the configuration beside the vocabulary says. */
export interface TokenizerRoles {
  eosToken: string;
  bosToken: string | undefined;
  chatTemplate: string;
}

/** File texts by name, for `saveTokenizer`. */
export function newTokenizerFiles(tokenizer: NewTokenizer, roles: TokenizerRoles): Map<string, string> {
  const named = {
    ...(roles.bosToken === undefined ? {} : { bos_token: roles.bosToken }),
    eos_token: roles.eosToken,
  };
  const others = tokenizer.specialTokens.filter((t) => t !== roles.bosToken && t !== roles.eosToken);
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...named,
    ...(others.length > 0 ? { additional_special_tokens: others } : {}),
    clean_up_tokenization_spaces: false,
    chat_template: roles.chatTemplate,
  };
  const map = { ...named, ...(others.length > 0 ? { additional_special_tokens: others } : {}) };
  return new Map([
    ['tokenizer.json', formatTokenizerJson(tokenizer)],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
    ['special_tokens_map.json', `${JSON.stringify(map, null, 2)}\n`],
  ]);
}
