package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// hostFile returns the path of a stack's host file. Without a name it is the project's only one.
func hostFile(stack string) (string, error) {
	root, err := projectRoot()
	if err != nil {
		return "", err
	}
	if stack, err = namedStack(stack); err != nil {
		return "", err
	}
	if stack = cmp.Or(stack, onlyHost(root)); stack == "" {
		return "", whichHost(root)
	}
	if !slices.Contains(hosts(root), stack) {
		return "", fmt.Errorf("there is no host file hosts/%s%s: %s", stack, hostfile.Extension, hostList(root))
	}
	return fromHere(filepath.Join(root, "hosts", stack+hostfile.Extension)), nil
}

// fromHere writes a path as seen from the current folder, which is what a reader would type and what a terminal can open.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(here, path)
	if err != nil {
		return path
	}
	return relative
}
