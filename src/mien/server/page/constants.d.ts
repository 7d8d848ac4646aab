// The types of the module that the server writes from the Python constants (looks.py).

/** Emotion -> colour. */
export const COLORS: Record<string, string>;

/** Of a table with a row per face. */
export const COLUMNS: string[];

/** What each of a face's five points is called. */
export const LANDMARKS: string[];

/** File that is made from a video -> what it is. */
export const RESULTS: Record<string, string>;
