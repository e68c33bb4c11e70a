package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/atomicfile"
	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/testmodel"
)

const (
	labName = "lab"
	labPort = 22870 // where hosts/lab.hcl finds the host of that name
)

func newLabCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Start a throwaway VM to try llmhost on",
		Long: "Throwaway hosts on this machine: Debian under QEMU, with Docker, NGINX, AppArmor and auditd, reached\n" +
			"on a port of 127.0.0.1 and reaching no network. The first one is built from Debian packages, which\n" +
			"takes some minutes; later ones are resumed in seconds.\n\n" +
			"The image is in your cache folder; LLMHOST_LAB_CACHE names another place.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newLabUpCmd(), newLabListCmd(), newLabSSHCmd(), newLabDownCmd())
	return cmd
}

// labDir holds the lab hosts of the project, a folder each.
func labDir() (string, error) {
	root, err := projectRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".llmhost", "lab"), nil
}

func labArg(args []string) string {
	if len(args) == 0 {
		return labName
	}
	return args[0]
}

// openLab opens a host that was started.
func openLab(name string) (*lab.VM, error) {
	dir, err := labDir()
	if err != nil {
		return nil, err
	}
	vm, err := lab.Open(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab host %q; start it with `llmhost lab up %s`", name, name)
	}
	return vm, err
}

func newLabUpCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "up [NAME]",
		Short: "Start a lab host, or find the one that runs",
		Long: "Start a fresh lab host, named lab if you don't say. It runs until `llmhost lab down`.\n\n" +
			"Beside what is needed to log in, .llmhost/lab/NAME then has an inference engine (llama.cpp of Debian)\n" +
			"and a tiny model with a known answer, which hosts/lab.hcl deploys.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// An interrupted build takes its half-booted host with it.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			host, err := labUp(ctx, labArg(args), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), host)
			}
			return host.writeText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: how to reach the host, and the engine and the model with their digests")
	return cmd
}

func labUp(ctx context.Context, name string, log io.Writer) (*labHost, error) {
	dir, err := labDir()
	if err != nil {
		return nil, err
	}
	if missing := lab.Missing(); len(missing) > 0 {
		if err := lab.Install(ctx, missing, log); err != nil {
			return nil, err
		}
	}
	options := lab.Options{Name: name, Dir: filepath.Join(dir, name), Log: log}
	if name == labName {
		options.Port = labPort
	}
	vm, err := lab.Up(ctx, options)
	if err != nil {
		return nil, err
	}
	host := newLabHost(vm)
	host.Engine = &labArtifact{Path: filepath.Join(vm.Dir, filepath.Base(vm.EngineArchive)), SHA256: vm.EngineSHA256}
	if err := copyFile(host.Engine.Path, vm.EngineArchive); err != nil {
		return nil, fmt.Errorf("the lab's engine: %w", err)
	}
	host.Model = &labArtifact{Path: filepath.Join(vm.Dir, "tiny.gguf")}
	host.Model.SHA256, _, err = testmodel.WriteFile(host.Model.Path, testmodel.Spec{Name: "tiny"})
	return host, err
}

func newLabListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List this project's lab hosts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := labDir()
			if err != nil {
				return err
			}
			vms, err := lab.List(dir)
			if err != nil {
				return err
			}
			hosts := make([]*labHost, len(vms))
			for i, vm := range vms {
				hosts[i] = newLabHost(vm)
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), hosts)
			}
			return writeLabTable(cmd.OutOrStdout(), hosts)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: a list of hosts")
	return cmd
}

func newLabSSHCmd() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "ssh [NAME] [-- COMMAND…]",
		Short: "Log in to a lab host, or run a command on it",
		Long:  "Log in to a lab host by OpenSSH, or run a command on it, whose exit code is then this command's.",
		Args: func(cmd *cobra.Command, args []string) error {
			names := cmd.ArgsLenAtDash()
			if names < 0 {
				names = len(args)
			}
			if names > 1 {
				return errors.New("name one lab host, and put a command behind --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := args, []string(nil)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				names, command = args[:dash], args[dash:]
			}
			vm, err := openLab(labArg(names))
			if err != nil {
				return err
			}
			if !vm.Running() {
				return fmt.Errorf("the lab host %q isn't running; start a fresh one with `llmhost lab up %s`", vm.Name, vm.Name)
			}
			ssh := vm.SSHCommand(cmd.Context(), user, command...)
			ssh.Stdin, ssh.Stdout, ssh.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = ssh.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return &ExitError{Code: exit.ExitCode()} // what there is to say was said
			}
			return err
		},
	}
	cmd.Flags().StringVar(&user, "user", "ops", "ops, who may use sudo, or root")
	return cmd
}

func newLabDownCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down [NAME]",
		Short: "End a lab host and remove all that was on it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return errors.New("name a lab host or say --all, not both")
			}
			vms, err := labsToEnd(all, labArg(args))
			if err != nil {
				return err
			}
			for _, vm := range vms {
				if err := labDown(vm); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "the lab host %s is gone\n", vm.Name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every lab host of this project")
	return cmd
}

func labsToEnd(all bool, name string) ([]*lab.VM, error) {
	if !all {
		vm, err := openLab(name)
		return []*lab.VM{vm}, err
	}
	dir, err := labDir()
	if err != nil {
		return nil, err
	}
	return lab.List(dir)
}

// labDown ends a host and removes what labUp has put beside it.
func labDown(vm *lab.VM) error {
	for _, name := range []string{filepath.Base(vm.EngineArchive), "tiny.gguf"} {
		if err := os.Remove(filepath.Join(vm.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return vm.Down()
}

// copyFile replaces a file by a copy of another, as a whole or not at all.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := atomicfile.Create(to)
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Replace()
}
