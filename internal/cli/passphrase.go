package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// readPassphrase takes the passphrase of something from a file (without the newline at its end),
// or asks for it on the terminal: twice if a mistake would only be noticed when it is too late.
func readPassphrase(cmd *cobra.Command, file, of string, twice bool) (string, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reading the passphrase: %w", err)
		}
		return checkPassphrase(bytes.TrimRight(raw, "\r\n"))
	}
	terminal, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", errors.New("there is no terminal to ask for the passphrase: give --passphrase-file FILE")
	}
	first, err := ask(terminal, cmd.ErrOrStderr(), "Passphrase of "+of+": ")
	if err != nil {
		return "", err
	}
	if twice {
		second, err := ask(terminal, cmd.ErrOrStderr(), "The same again: ")
		if err != nil {
			return "", err
		}
		if !bytes.Equal(first, second) {
			return "", errors.New("the two passphrases differ")
		}
	}
	return checkPassphrase(first)
}

func checkPassphrase(p []byte) (string, error) {
	if len(p) == 0 {
		return "", errors.New("the passphrase is empty")
	}
	return string(p), nil
}

func ask(terminal *os.File, w io.Writer, prompt string) ([]byte, error) {
	fmt.Fprint(w, prompt)
	answer, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(w)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return answer, nil
}
