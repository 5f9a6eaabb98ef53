// Camera: its picture, frame by frame, and a plate taken with it.

const PLATE_FRAMES = 8; // a plate is their mean, which has little noise

const WORDS = {
  NotAllowedError: "The browser does not allow the camera. Allow it in the address bar, then start it again.",
  NotFoundError: "There is no camera. Plug one in, or choose pictures instead.",
  NotReadableError: "The camera is in use by another program. Close that, then start it again.",
};

/** A camera shown in a <video>. What waits for a frame is rejected with words when the camera stops. */
export class Camera {
  #video;
  #stream = null;
  #ended = null;
  #end = null;

  constructor(video) {
    this.#video = video;
  }

  get running() {
    return this.#stream !== null;
  }

  /** Starts the camera of this id, or the browser's own choice. Rejected with words for people. */
  async start(device) {
    this.stop();
    if (!navigator.mediaDevices) throw new Error("Browsers give the camera to https and to 127.0.0.1 only.");
    const video = { width: { ideal: 640 }, height: { ideal: 480 } };
    if (device) video.deviceId = { exact: device };
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      throw new Error(WORDS[error.name] ?? `The camera did not start: ${error.message}`);
    }
    this.#ended = new Promise((_, reject) => (this.#end = reject));
    this.#ended.catch(() => {}); // nobody may be waiting
    this.#stream.getVideoTracks()[0].onended = () => this.stop("The camera has gone. Plug it in and start it again.");
    this.#video.srcObject = this.#stream;
    await this.#video.play();
  }

  /** Stops it; why: what those who wait for a frame are told. */
  stop(why = "The camera is off.") {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#video.srcObject = null;
    this.#end?.(new Error(why));
  }

  /** Every camera there is: [{id, name}]. Browsers tell only once one was allowed. */
  async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const cameras = devices.filter((device) => device.kind === "videoinput" && device.deviceId);
    return cameras.map((device, i) => ({ id: device.deviceId, name: device.label || `Camera ${i + 1}` }));
  }

  /** The next frame that the camera gives, as a bitmap. */
  async next() {
    const frame = new Promise((resolve) => {
      if (this.#video.requestVideoFrameCallback) this.#video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
    await Promise.race([frame, this.#ended]);
    return createImageBitmap(this.#video);
  }

  /** The mean of the next frames, as a bitmap; from now on the camera keeps its exposure, if it can. */
  async plate() {
    await this.#lock();
    const { videoWidth: width, videoHeight: height } = this.#video;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const sum = new Float32Array(4 * width * height);
    for (let n = 0; n < PLATE_FRAMES; n++) {
      const bitmap = await this.next();
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
      const { data } = context.getImageData(0, 0, width, height);
      for (let i = 0; i < sum.length; i++) sum[i] += data[i];
    }
    const mean = new ImageData(width, height);
    mean.data.set(sum.map((value) => value / PLATE_FRAMES));
    return createImageBitmap(mean);
  }

  /** Exposure, white balance and focus stay as they are, where the camera lets us. */
  async #lock() {
    const [track] = this.#stream.getVideoTracks();
    const can = track.getCapabilities?.() ?? {};
    const modes = ["exposureMode", "whiteBalanceMode", "focusMode"].filter((mode) => can[mode]?.includes("manual"));
    if (!modes.length) return;
    const fixed = Object.fromEntries(modes.map((mode) => [mode, "manual"]));
    await track.applyConstraints({ advanced: [fixed] }).catch(() => {}); // some cameras promise more than they keep
  }
}
