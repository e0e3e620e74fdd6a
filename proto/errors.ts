/**
 * The catalogue of errors: one entry a code, each with the sentence that the reference (docs/errors.md, generated)
 * prints. Every error that reaches a person or a client is an `AnnealError` with one of these codes, says what is
 * wrong and where, and how to mend it.
 */
export const ERRORS = {
  // Requests
  bad_frame: 'A message on the command socket is not [version, request id, MessagePack map].',
  version_mismatch: 'Client and daemon speak different versions of the protocol.',
  unknown_command: 'The command does not exist in this version of the protocol.',
  bad_request: 'A field of the command is missing, unknown or of the wrong type.',
  message_too_large: 'A message is larger than the daemon accepts.',
  internal: 'A fault of the program itself; the log of the daemon has the details.',
  // Daemon
  daemon_not_running: 'No daemon answers on this socket.',
  no_reply: 'The daemon is there but did not answer in time.',
  daemon_already_running: 'Another daemon holds the lock of this home.',
  socket_in_use: 'The address of a socket is taken by another program.',
  busy: 'Too many requests of this kind wait already.',
  home_unusable: 'The home folder cannot be written to, or its path is too long for a socket.',
  shutting_down: 'The daemon is going down and takes no new work.',
  unauthorized: 'The key of the client is not authorised, or a key file is missing or broken.',
  // Jobs
  job_not_found: 'No job has this id or name.',
  job_state: 'The job is in a state in which this cannot be done.',
  worker_died: 'The worker process of a job ended without a word (killed, out of memory, aborted).',
  worker_hung: 'The worker process of a job stopped making progress.',
  stages_failed: 'Several stages of a job failed.',
  selftest_failed: 'A check of the self-test did not hold.',
  // Recipes and files
  recipe_syntax: 'The recipe is not valid YAML.',
  recipe_invalid: 'A key of the recipe is unknown, missing, of the wrong type, or contradicts another.',
  recipe_reference: 'A stage needs an input that no stage makes.',
  stage_invalid:
    "A module with a stage of the recipe's own cannot be loaded, does not define one, or has a fault.",
  file_not_found: 'A file or folder that is named does not exist, or a pattern matches nothing.',
  file_unreadable: 'A file or folder exists but cannot be read or written, or is truncated.',
  source_unreachable: 'A URL of a data source cannot be fetched, or its server stalls.',
  disk_full: 'The disk has no room for what has to be written.',
  out_of_memory: 'The job needs more memory than this machine has free.',
  // Data
  data_syntax: 'A line of a data file cannot be parsed.',
  data_field: 'A row of a data file lacks a field or has one of the wrong type.',
  data_encoding: 'A data file is not UTF-8.',
  data_empty: 'A dataset has nothing to train on.',
  data_rejected: 'More rows of a dataset do not fit than max_rejected of the recipe allows.',
  data_row_too_long: 'A row is longer than the context and the recipe does not say what to do.',
  audit_refused: 'The audit before the first step found that training would not do what is meant.',
  // Models
  tokenizer_invalid: 'A tokenizer file cannot be used, or does not fit the model.',
  template_invalid: 'A chat template is missing or cannot be rendered.',
  template_changes_answer: 'A chat template loses or changes what the assistant says in a row.',
  model_invalid: 'A model folder cannot be loaded: a file, tensor or field is missing or wrong.',
  model_not_found: 'No model has this name or path.',
  constraint_invalid: 'A regular expression or JSON Schema for answers cannot be used.',
  artifact_corrupt: 'A checkpoint or artifact does not match its checksum.',
  readback_failed: 'What was saved, loaded again, does not give the same numbers.',
  // Ranking
  labels_missing: 'People have not yet said enough about the responses of a dataset.',
  // Training
  reward_invalid: 'A reward is not a finite number, or a scorer failed or did not answer.',
  training_diverged: 'The loss or gradient became NaN or left its bound three times in a row.',
  objective_invalid:
    "An objective of the recipe's own cannot be loaded, threw an error, or returned something else than numbers.",
  cancelled: 'The work was cancelled on request.',
} as const;

export type ErrorCode = keyof typeof ERRORS;

/**
 * Faults that may be gone at the next try, with the same recipe on the same machine: `retry` of a recipe is about
 * these. A full disk, memory that does not suffice or a diverged training would come again.
 */
export const TRANSIENT_ERRORS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['worker_died', 'worker_hung']);

/** An error as it travels: on the socket, in events, in `--json` output. */
export interface ErrorBody {
  code: ErrorCode;
  /** What is wrong and where. */
  message: string;
  /** How to mend it. */
  hint?: string;
  /** The offending field (`stages.sft.learning_rate`) or place (`data.jsonl:17`). */
  path?: string;
}

export class AnnealError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly path: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    where: { hint?: string; path?: string; cause?: unknown } = {},
  ) {
    super(message, where.cause === undefined ? undefined : { cause: where.cause });
    this.name = 'AnnealError';
    this.code = code;
    this.hint = where.hint;
    this.path = where.path;
  }

  toBody(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.path === undefined ? {} : { path: this.path }),
    };
  }

  static fromBody(body: ErrorBody): AnnealError {
    const { code, message, hint, path } = body;
    return new AnnealError(code, message, {
      ...(hint === undefined ? {} : { hint }),
      ...(path === undefined ? {} : { path }),
    });
  }
}

/** Any thrown value as an AnnealError; one without a code of the catalogue (as the addon's have) becomes `internal`. */
export function toAnnealError(error: unknown): AnnealError {
  if (error instanceof AnnealError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && Object.hasOwn(ERRORS, code)) {
    return new AnnealError(code as ErrorCode, message, { cause: error });
  }
  return new AnnealError('internal', message, { cause: error });
}
