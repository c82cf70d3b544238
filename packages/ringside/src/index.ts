/** The toolstack and the command line. */
export {};
