// Types of /constants.js, a module that the server generates from Python constants (static_files.py).

/** Color of each emotion. */
export const COLORS: Record<string, string>;

/** Names of the columns of a table with one row per face. */
export const COLUMNS: string[];

/** Description of each flag of a face. */
export const FLAGS: Record<string, string>;

/** Names of the five landmarks of a face. */
export const LANDMARKS: string[];

/** Description of each result file of a video. */
export const RESULT_FILES: Record<string, string>;
