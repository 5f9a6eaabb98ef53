// Picker: a picture chosen or dropped by the user, as a bitmap.

/** The picture in a file. Rejected with words for people if it is none. */
export async function picture(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error(
      `${file.name} is not a picture that this browser can read: give a JPEG, PNG, WebP or AVIF of at most 16384 ` +
        "pixels a side.",
    );
  }
}

/** Calls chosen(file) when a file is chosen in an <input> or dropped on the element around it. */
export function onFile(input, around, chosen) {
  input.addEventListener("change", () => {
    if (input.files.length) chosen(input.files[0]);
    input.value = ""; // so that the same file may be chosen again
  });
  around.addEventListener("dragover", (event) => {
    event.preventDefault();
    around.classList.add("over");
  });
  around.addEventListener("dragleave", () => around.classList.remove("over"));
  around.addEventListener("drop", (event) => {
    event.preventDefault();
    around.classList.remove("over");
    if (event.dataTransfer.files.length) chosen(event.dataTransfer.files[0]);
  });
}

/** A bitmap drawn small on a canvas, which is shown. */
export function thumbnail(canvas, bitmap, longest = 320) {
  const share = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * share));
  canvas.height = Math.max(1, Math.round(bitmap.height * share));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
}
