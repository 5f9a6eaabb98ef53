// Consult: the doctor's worker. It is asked {plate, frame: bitmaps, quick} and answers {words, diagnosis}.

import { examine } from "./measures.js";
import { serve } from "./thread.js";
import { words } from "./words.js";

serve({
  examine: ({ plate, frame, quick }) => {
    const diagnosis = examine(plate, frame, quick);
    plate.close();
    frame.close();
    return { diagnosis, words: words(diagnosis) };
  },
});
