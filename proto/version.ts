/** Raised whenever a client of the previous version could misread a message. */
export const PROTOCOL_VERSION = 1;
/** The release of this program; kept equal to package.json by a test. */
export const ANNEAL_VERSION = '0.1.0';
