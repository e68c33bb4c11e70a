package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	sshconfig "github.com/kevinburke/ssh_config"
)

// hop is one SSH server on the way to a host, with everything resolved.
type hop struct {
	alias        string // as it was asked for
	host         string // to connect to
	port         int
	user         string
	hostKeyAlias string // name to look up in known_hosts, when it is not the host's

	identities     []string // key files in the order to try them
	explicit       bool     // the first identity was asked for by name and must exist
	identitiesOnly bool
	agentSocket    string

	knownHosts []string
	hostKey    string // pinned, authorized_keys form

	jump string
}

func (h hop) address() string { return net.JoinHostPort(h.host, strconv.Itoa(h.port)) }

// keyName is the name under which known_hosts holds the host.
func (h hop) keyName() string {
	if h.hostKeyAlias != "" {
		return net.JoinHostPort(h.hostKeyAlias, "22")
	}
	return h.address()
}

// directives are those of an ssh configuration that llmhost honours, by lower-case keyword.
type directives map[string][]string

func (d directives) first(keyword string) string {
	if v := d[keyword]; len(v) > 0 && !strings.EqualFold(v[0], "none") {
		return v[0]
	}
	return ""
}

// resolve turns a target into the last hop of its way, as the user's own ssh would.
func resolve(ctx context.Context, t Target, configFile string) (hop, error) {
	found, err := lookUp(ctx, t.Address, t.Port, t.User, configFile)
	if err != nil {
		return hop{}, err
	}
	if command := found.first("proxycommand"); command != "" && t.Jump == "" {
		return hop{}, newError(ErrTarget, t.Address, "connect", "the ssh configuration sets a ProxyCommand, which llmhost does not run",
			"set `jump` in the host file, or use ProxyJump in the ssh configuration", nil)
	}

	h := hop{
		alias:          t.Address,
		host:           firstOf(found.first("hostname"), t.Address),
		user:           firstOf(t.User, found.first("user"), currentUser()),
		hostKeyAlias:   found.first("hostkeyalias"),
		identitiesOnly: found.first("identitiesonly") == "yes",
		hostKey:        t.HostKey,
		jump:           firstOf(t.Jump, found.first("proxyjump")),
	}
	h.port = t.Port
	if h.port == 0 {
		if h.port, err = strconv.Atoi(firstOf(found.first("port"), "22")); err != nil {
			return hop{}, newError(ErrTarget, t.Address, "connect", "the ssh configuration's Port is not a number", "", err)
		}
	}
	h.agentSocket = agentSocket(found)

	tokens := h.tokens()
	if t.Identity != "" {
		h.identities, h.explicit = []string{expandHome(t.Identity)}, true
	}
	for _, file := range found["identityfile"] {
		h.identities = append(h.identities, expandHome(tokens.Replace(file)))
	}
	if t.KnownHosts != "" {
		h.knownHosts = []string{expandHome(t.KnownHosts)}
		return h, nil
	}
	for _, keyword := range []string{"userknownhostsfile", "globalknownhostsfile"} {
		for _, value := range found[keyword] {
			for file := range strings.FieldsSeq(value) {
				h.knownHosts = append(h.knownHosts, expandHome(tokens.Replace(file)))
			}
		}
	}
	return h, nil
}

// tokens are the percent tokens that ssh_config(5) allows in file names.
func (h hop) tokens() *strings.Replacer {
	return strings.NewReplacer("%%", "%", "%d", homeDir(), "%h", h.host, "%n", h.alias,
		"%p", strconv.Itoa(h.port), "%r", h.user, "%u", currentUser())
}

// agentSocket is where the user's ssh-agent listens, empty when there is none.
func agentSocket(found directives) string {
	if v, set := found["identityagent"]; set && len(v) > 0 {
		switch value := v[0]; {
		case strings.EqualFold(value, "none"):
			return ""
		case value == "SSH_AUTH_SOCK":
		case strings.HasPrefix(value, "$"):
			return os.Getenv(strings.Trim(value, "${}"))
		default:
			return expandHome(value)
		}
	}
	return os.Getenv("SSH_AUTH_SOCK")
}

// lookUp asks OpenSSH's own client where it is installed, since only it knows Include,
// Match and every default, and reads the configuration files itself otherwise.
func lookUp(ctx context.Context, alias string, port int, user, configFile string) (directives, error) {
	client, err := exec.LookPath("ssh")
	if err != nil {
		return readConfigFiles(alias, configFile)
	}
	var args []string
	args = append(args, "-G")
	if configFile != "" {
		args = append(args, "-F", configFile)
	}
	if port != 0 {
		args = append(args, "-p", strconv.Itoa(port))
	}
	if user != "" {
		args = append(args, "-l", user)
	}
	args = append(args, "--", alias)

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // a Match exec may hang
	defer cancel()
	cmd := exec.CommandContext(ctx, client, args...)
	var out, diagnosis bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnosis
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, newError(ErrTarget, alias, "connect", "the ssh configuration can't be read: "+
			firstOf(strings.TrimSpace(diagnosis.String()), err.Error()), "try `ssh -G "+alias+"`", err)
	}
	found := directives{}
	for line := range strings.Lines(out.String()) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		keyword = strings.ToLower(keyword)
		found[keyword] = append(found[keyword], value)
	}
	return found, nil
}

// readConfigFiles is the way without OpenSSH: Host blocks and Include, no Match.
func readConfigFiles(alias, configFile string) (directives, error) {
	files := []string{filepath.Join(homeDir(), ".ssh", "config"), "/etc/ssh/ssh_config"}
	if configFile != "" {
		files = []string{configFile}
	}
	found := directives{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && configFile == "" {
			continue
		}
		if err != nil {
			return nil, newError(ErrTarget, alias, "connect", "the ssh configuration can't be read: "+err.Error(), "", err)
		}
		config, err := sshconfig.DecodeBytes(raw)
		if err != nil {
			return nil, newError(ErrTarget, alias, "connect", fmt.Sprintf("the ssh configuration %s can't be read: %v", file, err),
				"install OpenSSH's client, which understands every directive", err)
		}
		for _, keyword := range []string{"HostName", "Port", "User", "IdentityFile", "IdentitiesOnly", "IdentityAgent",
			"UserKnownHostsFile", "GlobalKnownHostsFile", "HostKeyAlias", "ProxyJump", "ProxyCommand"} {
			values, err := config.GetAll(alias, keyword)
			if err != nil {
				return nil, newError(ErrTarget, alias, "connect", fmt.Sprintf("the ssh configuration %s can't be read: %v", file, err), "", err)
			}
			lower := strings.ToLower(keyword)
			if keyword == "IdentityFile" || found[lower] == nil { // the first value counts; key files add up
				found[lower] = append(found[lower], values...)
			}
		}
	}
	if host := found.first("hostname"); host != "" {
		found["hostname"] = []string{strings.ReplaceAll(host, "%h", alias)}
	}
	for keyword, values := range map[string][]string{
		"identityfile":         {"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"},
		"userknownhostsfile":   {"~/.ssh/known_hosts ~/.ssh/known_hosts2"},
		"globalknownhostsfile": {"/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"},
	} {
		if len(found[keyword]) == 0 {
			found[keyword] = values
		}
	}
	return found, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

func homeDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return "/"
	}
	return home
}

func expandHome(path string) string {
	path = strings.Trim(path, `"`)
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(homeDir(), rest)
	}
	return path
}
