package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// canAsk reports whether somebody may be there to answer.
func canAsk(cmd *cobra.Command) bool {
	f, ok := cmd.InOrStdin().(*os.File)
	return (!ok || term.IsTerminal(int(f.Fd()))) && !cmdutil.DisableInteractive
}

// saysYes asks a question that the word yes alone answers with yes.
func saysYes(cmd *cobra.Command, question string) (bool, error) {
	fmt.Fprint(cmd.ErrOrStderr(), question+" Type yes: ")
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(answer) == "yes", nil
}

// confirm makes sure that somebody wants what is about to be done. Where nobody can be asked, the
// flag does it.
func confirm(cmd *cobra.Command, question, flag string) error {
	if !canAsk(cmd) {
		return fmt.Errorf("there is no terminal to ask on, and %s says yes to: %s", flag, question)
	}
	yes, err := saysYes(cmd, question)
	if err == nil && !yes {
		err = errors.New("nothing was changed")
	}
	return err
}
