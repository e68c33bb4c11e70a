package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// WriteFile replaces a file.
func WriteFile(path string, content []byte, a Attributes) error {
	d, name, err := Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Replace(name, a, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// MissingParents lists the folders above a path that aren't there, outermost first.
func MissingParents(path string) ([]string, error) {
	var missing []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil {
			slices.Reverse(missing)
			return missing, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return nil, err
		}
		missing = append(missing, dir)
	}
}

// MakeParents makes folders that MissingParents has listed. Somebody else may have made them
// meanwhile.
func MakeParents(missing []string, a Attributes) error {
	for _, dir := range missing {
		d, name, err := Parent(dir)
		if err != nil {
			return err
		}
		err = d.Mkdir(name, a)
		d.Close()
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
