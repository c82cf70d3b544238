/** Recordings of the genuine grant table code. */
export { readGnttabRecording, type GnttabTrace } from './recording.ts';
export { replayGnttabTrace, type GnttabReplayOptions } from './replay.ts';
