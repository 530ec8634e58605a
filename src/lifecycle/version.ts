/** package.json's; a test compares the two. Nothing is read at run time, so that any packaging works. */
export const VERSION = '0.1.0';
