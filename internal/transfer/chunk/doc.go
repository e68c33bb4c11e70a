// Package chunk finds what two versions of a model have in common. It cuts bytes where their
// content says so, so that the same bytes become the same chunks wherever they have moved to,
// and lists the chunks of what a host already has in an index that a sender looks its own up in.
//
// A chunk's sum is a fast hash and no proof. Nothing rests on it: whatever was copied because
// of an index, the model's SHA-256 is what decides, and a wrong copy costs one whole push.
package chunk
