// Response bodies of the server. A test checks that the fields equal those of schemas.py.

export type Shares = Record<string, number>;

export interface Face {
  face_id: number;
  box: [x: number, y: number, w: number, h: number];
  face_confidence: number;
  emotions: Shares;
  dominant_emotion: string;
  flags: string[];
  landmarks: [x: number, y: number][] | null;
  smoothed?: Shares;
}

export interface FrameRecord {
  source: string;
  frame: number;
  seconds: number;
  shot?: number;
  width: number;
  height: number;
  model: string;
  detector: string;
  faces: Face[];
}

export interface Job {
  id: string;
  name: string;
  state: string;
  progress: number;
  position_seconds: number;
  duration_seconds: number;
  frames: number;
  error: string;
  warnings: string[];
  result_files: string[];
  expires_in_seconds: number;
}

export interface Model {
  name: string;
  labels: string[];
  target: string;
}

export interface Models {
  default: string;
  models: Model[];
  detector: string;
  detectors: string[];
}
