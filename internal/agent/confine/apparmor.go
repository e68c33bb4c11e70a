package confine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// securityFS is where the kernel shows AppArmor's profiles.
const securityFS = "/sys/kernel/security/apparmor"

var profileName = regexp.MustCompile(`^llmhost-[a-z0-9][a-z0-9-]*$`)

// AppArmor reports whether the kernel confines by AppArmor and the host has what loads profiles.
func AppArmor() bool {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || strings.TrimSpace(string(enabled)) != "Y" {
		return false
	}
	_, err = lookPath("apparmor_parser")
	return err == nil
}

// validProfile demands that a file holds the one profile that it is named after: loaded by root,
// it could otherwise replace that of any other program.
func validProfile(path, text string) error {
	name := filepath.Base(path)
	if filepath.Dir(path) != "/etc/apparmor.d" || !profileName.MatchString(name) {
		return fault.New(agentpb.Reason_INVALID, "%s is no place for a profile of llmhost's, which is /etc/apparmor.d/llmhost-NAME", path).With("path", path)
	}
	profiles := 0
	depth := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "#include") {
			continue
		}
		if depth == 0 {
			if !strings.HasPrefix(line, "profile "+name+" flags=(") || !strings.HasSuffix(line, ") {") {
				return fault.New(agentpb.Reason_INVALID, "%s: %q is outside of the profile %s", path, line, name).With("path", path)
			}
			profiles++
			depth++
			continue
		}
		if line == "}" {
			depth--
		}
	}
	if profiles != 1 || depth != 0 {
		return fault.New(agentpb.Reason_INVALID, "%s holds %d profiles and not one", path, profiles).With("path", path)
	}
	return nil
}

func checkProfile(ctx context.Context, path string) error {
	_, err := run(ctx, nil, "apparmor_parser", "--skip-kernel-load", "--skip-cache", path)
	return err
}

func loadProfile(ctx context.Context, path string) error {
	_, err := run(ctx, nil, "apparmor_parser", "--replace", "--skip-cache", path)
	return err
}

// removeProfile unloads a profile whose file is gone.
func removeProfile(ctx context.Context, path string) error {
	name := filepath.Base(path)
	if mode, err := profileMode(name); err != nil || mode == "" {
		return err
	}
	_, err := run(ctx, []byte("profile "+name+" {}\n"), "apparmor_parser", "--remove")
	return err
}

func observeProfile(ctx context.Context, path string, s *agentpb.ConfigurationState) error {
	name := filepath.Base(path)
	mode, err := profileMode(name)
	if err != nil {
		return err
	}
	s.Mode, s.Loaded = mode, mode != ""
	if !s.GetExists() || !s.GetLoaded() {
		return nil
	}
	loaded, err := loadedDigest(name)
	if err != nil || loaded == "" {
		return err // a kernel that doesn't keep what was loaded can't be asked
	}
	compiled, err := run(ctx, nil, "apparmor_parser", "--stdout", "--skip-kernel-load", "--skip-cache", path)
	var refused *fault.Error
	if errors.As(err, &refused) && refused.Reason == agentpb.Reason_REFUSED {
		s.Changes = []string{"AppArmor refuses the file: " + refused.Message}
		return nil
	}
	if err != nil {
		return err
	}
	if sum := sha256.Sum256([]byte(compiled)); hex.EncodeToString(sum[:]) != loaded {
		s.Changes = []string{"the kernel has another profile of this name than the file's"}
	}
	return nil
}

// profileMode is the mode of a loaded profile, "" when none of the name is.
func profileMode(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(securityFS, "profiles"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.OfPath("read", filepath.Join(securityFS, "profiles"), err)
	}
	for line := range strings.Lines(string(text)) {
		is, mode, _ := strings.Cut(strings.TrimSpace(line), " ")
		if is == name {
			return strings.Trim(mode, "()"), nil
		}
	}
	return "", nil
}

// loadedDigest is the SHA-256 of what was loaded as a profile, "" where the kernel keeps none.
func loadedDigest(name string) (string, error) {
	// The kernel adds a number to the name.
	found, err := filepath.Glob(filepath.Join(securityFS, "policy/profiles", name+".*"))
	if err != nil {
		return "", err
	}
	for _, dir := range found {
		if is, err := os.ReadFile(filepath.Join(dir, "name")); err != nil || strings.TrimSpace(string(is)) != name {
			continue
		}
		sum, err := os.ReadFile(filepath.Join(dir, "raw_sha256"))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fault.OfPath("read", dir, err)
		}
		return strings.TrimSpace(string(sum)), nil
	}
	return "", nil
}
