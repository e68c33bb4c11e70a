package account

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// running reports whether a user has processes. userdel looks too, and overlooks those with a
// root directory of their own, which is what model servers have.
func running(proc string, uid uint32) (bool, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		status, err := os.ReadFile(filepath.Join(proc, e.Name(), "status"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended meanwhile
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look at the process %s: %w", e.Name(), err)
		}
		for line := range strings.Lines(string(status)) {
			ids, ok := strings.CutPrefix(line, "Uid:") // real, effective, saved, file system
			if !ok {
				continue
			}
			for id := range strings.FieldsSeq(ids) {
				if id == strconv.FormatUint(uint64(uid), 10) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}
