package remote

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// PromptOnTerminal asks on the controlling terminal without echo. A run that has nobody in
// front of it gets an error at once.
func PromptOnTerminal(ctx context.Context, prompt string) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", errors.New("there is no terminal to ask on")
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("there is no terminal to ask on")
	}
	defer tty.Close()

	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	type answer struct {
		word []byte
		err  error
	}
	answers := make(chan answer, 1)
	fmt.Fprint(tty, prompt)
	go func() {
		word, err := term.ReadPassword(int(tty.Fd()))
		answers <- answer{word, err}
	}()
	select {
	case a := <-answers:
		fmt.Fprintln(tty)
		if a.err != nil {
			return "", fmt.Errorf("read the answer: %w", a.err)
		}
		return string(a.word), nil
	case <-ctx.Done():
		_ = term.Restore(int(tty.Fd()), before)
		fmt.Fprintln(tty)
		return "", ctx.Err()
	}
}
