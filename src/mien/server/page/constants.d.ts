// Types of the module /constants.js, which the server generates from Python constants (static_files.py).

/** Emotion -> color. */
export const COLORS: Record<string, string>;

/** Columns of a table with one row per face. */
export const COLUMNS: string[];

/** Flag of a face -> its description. */
export const FLAGS: Record<string, string>;

/** Names of the five landmarks of a face. */
export const LANDMARKS: string[];

/** Description of each result file of a video. */
export const RESULT_FILES: Record<string, string>;
