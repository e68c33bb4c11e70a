package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// bootstrapFlags are the choices of a bootstrap.
type bootstrapFlags struct {
	adminUser     string
	deployUser    string
	key           string
	acceptHostKey string
	passwordStdin bool
}

// bootstrapped is what a bootstrap found and made.
type bootstrapped struct {
	Host            string          `json:"host"`
	User            string          `json:"user"`
	Identity        string          `json:"identity"` // path of the private key
	HostKey         string          `json:"hostKey"`  // as pinned
	Fingerprint     string          `json:"fingerprint"`
	Steps           []bootstrapStep `json:"steps"`
	HostFileChanged bool            `json:"hostFileChanged"`
}

type bootstrapStep struct {
	Made bool   `json:"made"` // false: it was so already
	What string `json:"what"`
}

func newBootstrapCmd() *cobra.Command {
	var stack string
	var flags bootstrapFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Prepare a plain machine once, so that llmhost can deploy to it",
		Long: "Log in to a machine as an administrator and prepare it for deployments:\n\n" +
			"  1. the host key is shown, and pinned in the host file once you have confirmed it\n" +
			"  2. a deploy user is made, with a key and without a password\n" +
			"  3. the launcher of llmhost's agent is installed, owned by root\n" +
			"  4. a sudo rule, checked with visudo, lets the deploy user run that launcher as root, and nothing else\n" +
			"  5. the host file gets the user and the key, and a first connection is made with them\n\n" +
			"The rule keeps sudo's log readable and accidents away. It is no cage: the launcher starts the agent\n" +
			"that it is given, so whoever holds the deploy user's key can do everything on that machine. Keep\n" +
			"the key as you would keep root's.\n\n" +
			"What is there already stays, so a second run changes nothing. The administrator is root or a user\n" +
			"that may use sudo; a password is asked for on the terminal and goes nowhere but to the machine.",
		Example: "  llmhost bootstrap -s desktop --admin-user alice\n" +
			"  llmhost bootstrap -s desktop --admin-user alice --accept-host-key SHA256:…",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := loadHost(stack)
			if err != nil {
				return err
			}
			say := func(s bootstrapStep) { s.writeText(cmd.OutOrStdout()) }
			if asJSON {
				say = func(bootstrapStep) {}
			}
			result, err := bootstrap(cmd, h, flags, say)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), result)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s is ready: `llmhost probe -s %s`, then `llmhost up -s %s`\n", h.Name, h.Name, h.Name)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&stack, "stack", "s", "", "the host to prepare")
	f.StringVar(&flags.adminUser, "admin-user", "", "the administrator to log in as (default: the user of the host file or of your ssh configuration)")
	f.StringVar(&flags.deployUser, "deploy-user", "llmhost", "the user to make for deployments")
	f.StringVar(&flags.key, "key", "", "the deploy user's private key file, made if it isn't there (default: the host file's identity, else ~/.ssh/llmhost_NAME)")
	f.StringVar(&flags.acceptHostKey, "accept-host-key", "", "the host key's fingerprint, in place of a question")
	f.BoolVar(&flags.passwordStdin, "admin-password-stdin", false, "read the administrator's password from standard input")
	f.BoolVar(&asJSON, "json", false, "as JSON: host, user, identity, hostKey, fingerprint, steps, hostFileChanged")
	return cmd
}

func bootstrap(cmd *cobra.Command, h *hostfile.Host, flags bootstrapFlags, say func(bootstrapStep)) (*bootstrapped, error) {
	if h.SSH == nil {
		return nil, fmt.Errorf("%s is this machine itself (local): it needs no bootstrap; run llmhost as root, or as a user that may use sudo", h.Name)
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	result := &bootstrapped{Host: h.Name, User: flags.deployUser}
	step := func(made bool, format string, args ...any) {
		s := bootstrapStep{made, fmt.Sprintf(format, args...)}
		result.Steps = append(result.Steps, s)
		say(s)
	}
	options := connection(cmd)

	target := targetOf(h)
	hostKey, known, err := remote.ScanHostKey(ctx, target, options)
	if err != nil {
		return nil, err
	}
	if err := confirmHostKey(cmd, h, hostKey, known, flags.acceptHostKey); err != nil {
		return nil, err
	}
	target.HostKey = hostKey.Line
	result.HostKey, result.Fingerprint = hostKey.Line, hostKey.Fingerprint

	result.Identity = deployKey(h, flags.key)
	_, statErr := os.Stat(result.Identity)
	admin := target
	admin.User = flags.adminUser
	if admin.User == "" && h.SSH.User != flags.deployUser {
		admin.User = h.SSH.User
	}
	if admin.Identity != "" && errors.Is(statErr, os.ErrNotExist) {
		admin.Identity = "" // it is about to be made; the administrator has another way in
	}
	public, created, err := remote.EnsureKey(result.Identity)
	if err != nil {
		return nil, err
	}
	if created {
		step(true, "key %s on this machine, without a passphrase (`ssh-keygen -p -f %s` sets one)", result.Identity, result.Identity)
	} else {
		step(false, "key %s on this machine", result.Identity)
	}

	password := adminPassword(cmd, flags.passwordStdin)
	options.Password = password
	err = remote.Prepare(ctx, admin, options, remote.Preparation{
		User: flags.deployUser, PublicKey: public, Password: password,
		Step: func(made bool, what string) { step(made, "%s", what) },
	})
	if err != nil {
		return nil, err
	}

	target.User, target.Identity = flags.deployUser, result.Identity
	options.Password = nil
	if err := firstConnection(ctx, target, options); err != nil {
		return nil, fmt.Errorf("the machine is prepared, but the first connection as %s fails: %w", flags.deployUser, err)
	}
	step(true, "first connection as %s: the agent runs as root", flags.deployUser)

	edits := []hostfile.Change{
		hostfile.Edit{Block: "ssh", Attribute: "host_key", Value: hostKey.Line},
		hostfile.Edit{Block: "ssh", Attribute: "user", Value: flags.deployUser},
	}
	if h.SSH.Identity != result.Identity {
		edits = append(edits, hostfile.Edit{Block: "ssh", Attribute: "identity", Value: shortenHome(result.Identity)})
	}
	if result.HostFileChanged, err = hostfile.Rewrite(h.File, edits...); err != nil {
		return nil, fmt.Errorf("the machine is prepared, but its host file is not: %w", err)
	}
	step(result.HostFileChanged, "host_key, user and identity in %s", h.File)
	return result, nil
}

// confirmHostKey makes sure that a person, or a file that one made, has confirmed the key.
func confirmHostKey(cmd *cobra.Command, h *hostfile.Host, key remote.HostKey, known bool, accepted string) error {
	if accepted != "" {
		if accepted != key.Fingerprint {
			return fmt.Errorf("%s presents %s (%s), and not %s as in --accept-host-key: either that was copied wrong, or somebody is between you and the machine",
				h.SSH.Address, key.Fingerprint, key.Type, accepted)
		}
		return nil
	}
	if known {
		return nil
	}
	file := strings.TrimPrefix(key.Type, "ssh-")
	if strings.HasPrefix(key.Type, "ecdsa-") {
		file = "ecdsa"
	}
	text := fmt.Sprintf("%s presents this host key, which is not known here:\n\n  %s (%s)\n\n"+
		"Compare it with what the machine's own console says:\n\n  ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub\n\n", h.SSH.Address, key.Fingerprint, key.Type, file)
	if !canAsk(cmd) {
		return fmt.Errorf("%sThere is no terminal to ask on; if it is the same, run this again with --accept-host-key %s", text, key.Fingerprint)
	}
	yes, err := saysYes(cmd, text+"Is it the same?")
	if err == nil && !yes {
		err = errors.New("the host key was not confirmed; nothing was changed")
	}
	return err
}

// adminPassword asks for the password once, for the login and for sudo.
func adminPassword(cmd *cobra.Command, fromStdin bool) func(context.Context, string) (string, error) {
	var once sync.Once
	var word string
	var failed error
	return func(ctx context.Context, prompt string) (string, error) {
		once.Do(func() {
			if fromStdin {
				word, failed = bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if errors.Is(failed, io.EOF) {
					failed = nil
				}
				word = strings.TrimRight(word, "\r\n")
				return
			}
			word, failed = remote.PromptOnTerminal(ctx, prompt)
		})
		return word, failed
	}
}

func firstConnection(ctx context.Context, target remote.Target, options remote.Options) error {
	conn, err := remote.Dial(ctx, target, options)
	if err != nil {
		return err
	}
	defer conn.Close()
	if uid := conn.Hello().GetUid(); uid != 0 {
		return fmt.Errorf("the agent runs as user %d and not as root", uid)
	}
	return nil
}

// deployKey is where the deploy user's private key is, or is to be.
func deployKey(h *hostfile.Host, flag string) string {
	switch {
	case flag != "":
		if absolute, err := filepath.Abs(flag); err == nil {
			return absolute
		}
		return flag
	case h.SSH.Identity != "":
		return h.SSH.Identity
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return filepath.Join(home, ".ssh", "llmhost_"+h.Name)
}

// shortenHome writes a path below the home folder with a tilde, so that the host file suits
// everybody who works with it.
func shortenHome(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	if rest, ok := strings.CutPrefix(path, home+string(filepath.Separator)); ok {
		return "~/" + rest
	}
	return path
}

func (s bootstrapStep) writeText(w io.Writer) {
	word := "already there"
	if s.Made {
		word = "done"
	}
	fmt.Fprintf(w, "%-13s  %s\n", word, s.What)
}
