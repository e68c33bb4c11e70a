// Package credential seals secrets for the services of this host, by systemd's own program: what
// is then on the disk can be opened on this machine alone, by root and by systemd.
package credential

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// tool is part of systemd since its version 250.
const tool = "systemd-creds"

// toolTimeout bounds a run of it. A TPM may take some seconds.
const toolTimeout = 60 * time.Second

// MaxContent is how large a secret may be, in bytes. systemd's own limit is larger.
const MaxContent = 64 << 10

// maxSealed is how much more a sealed one may have: base64, the headers, and what a TPM needs.
const maxSealed = 4 * MaxContent

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// ValidName refuses what isn't the name of a credential.
func ValidName(name string) error {
	if !validName.MatchString(name) {
		return fault.New(agentpb.Reason_INVALID, "%q is no name for a credential: use letters, digits, _ and -, at most 128", name)
	}
	return nil
}

// Seal encrypts a secret under a name: with the TPM and the host's key where there is a TPM, and
// with the host's key alone otherwise. The secret goes to the program by its standard input.
func Seal(ctx context.Context, name string, content []byte) ([]byte, error) {
	return run(ctx, "seal", name, content, "encrypt", "--with-key=auto", "--name="+name, "-", "-")
}

// Open decrypts what Seal has made under the same name.
func Open(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	return run(ctx, "open", name, sealed, "decrypt", "--name="+name, "-", "-")
}

func run(ctx context.Context, what, name string, input []byte, args ...string) ([]byte, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	program, err := exec.LookPath(tool)
	if err != nil {
		return nil, fault.New(agentpb.Reason_NO_TOOL, "%s isn't installed, which comes with systemd 250 and newer", tool).With("tool", tool)
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_LOG_COLOR=0", "SYSTEMD_LOG_LEVEL=err")
	cmd.Stdin = bytes.NewReader(input)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	output, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return output, nil
	case ctx.Err() != nil || !errors.As(err, &exit):
		return nil, fmt.Errorf("%s the credential %s: %w", what, name, err)
	}
	return nil, fault.New(agentpb.Reason_REASON_UNSPECIFIED, "systemd can't %s the credential %s: %s", what, name, lastLine(complaint.String()))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(text, "?")), "\n")
	return lines[len(lines)-1]
}

// keys are what a sealed credential can be encrypted with, by the identifier at its beginning
// (systemd's src/shared/creds-util.h).
var keys = map[string]string{
	"5a1c6a86df9d4096b1d5a65e0862f19a": "host",
	"0c7cc07b117645919c4b0bea08bc20fe": "tpm2",
	"faf7eb9341e3412ca1a436f95a29362f": "tpm2",
	"93a894094874449090caf2fc93cab553": "host+tpm2",
	"af4950a849134eb1a73846304ff30c05": "host+tpm2",
	"058469daf6f54324800549da0f8ea2fb": "null",
}

// SealedWith says what a sealed credential is encrypted with: host, tpm2, host+tpm2, or null for a
// key that everybody knows. It is empty for what isn't sealed.
func SealedWith(content []byte) string {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(content)), ""))
	if err != nil || len(raw) < 64 { // the headers alone are longer
		return ""
	}
	if key, ok := keys[fmt.Sprintf("%x", raw[:16])]; ok {
		return key
	}
	return ""
}
