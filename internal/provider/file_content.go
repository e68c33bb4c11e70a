package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// maxFileContent is the largest text that is kept in state and read back, in bytes. State is
// rewritten as a whole, and gRPC's default message limit is 4 MiB.
const maxFileContent = 1 << 20

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// observedText is what Read shows of a file: its text, or a note where text would be wrong.
func observedText(seen *agentpb.PathState) string {
	if seen.GetContentTruncated() || !utf8.Valid(seen.GetContent()) {
		return fmt.Sprintf("<binary: sha256 %s, %d bytes>", seen.GetSha256(), seen.GetSize())
	}
	return string(seen.GetContent())
}

// observedSecret is what Read shows of a secret: the declared one if the host still has it,
// else a note that differs for each other content. The note's digest is keyed with the
// declared secret: a plain one would let a reader of the state guess a short password.
func observedSecret(declared, sha256Hex string) string {
	if digest(declared) == sha256Hex {
		return declared
	}
	mac := hmac.New(sha256.New, []byte(declared))
	mac.Write([]byte(sha256Hex))
	return fmt.Sprintf("<changed on the host: keyed digest %s>", hex.EncodeToString(mac.Sum(nil)[:8]))
}
