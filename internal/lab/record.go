package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// recordFile is what makes a folder the folder of a host.
const recordFile = "vm.json"

// record is what is known of a host that was started.
type record struct {
	Name    string  `json:"name"`
	Port    int     `json:"port"`
	HostKey string  `json:"hostKey"`
	Monitor string  `json:"monitor"`
	Engine  string  `json:"engine"`
	Process process `json:"process"`
}

func (r record) write(dir string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, recordFile), append(content, '\n')); err != nil {
		return fmt.Errorf("the record of lab host %q: %w", r.Name, err)
	}
	return nil
}

// readRecord returns an fs.ErrNotExist for a folder without a host.
func readRecord(dir string) (record, error) {
	var r record
	content, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("the lab host in %s: %w", dir, err)
	}
	return r, err
}
