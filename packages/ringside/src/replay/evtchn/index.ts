/** Recordings of the genuine event channel code. */
export { type EvtchnTrace, readEvtchnRecording } from './recording.ts';
export { type EvtchnReplayOptions, replayEvtchnTrace } from './replay.ts';
