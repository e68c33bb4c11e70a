// Package account reads and changes the users and groups of a machine.
//
// It reads the files under /etc itself: the agent is linked statically, so that the name
// service of the C library isn't there, and what Pulumi declares lives in those files.
package account

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Database is the folder that holds passwd, group and shadow.
type Database string

// System is this machine's database.
const System Database = "/etc"

// User is an account.
type User struct {
	Name    string
	UID     uint32
	Group   string   // primary group; a number when it has no name
	Groups  []string // supplementary, sorted
	Home    string
	Shell   string
	Comment string
	Locked  bool // no password login
}

// User looks up an account with its groups. It is nil when there is none.
func (d Database) User(name string) (*User, error) {
	line, err := d.find("passwd", func(f []string) bool { return f[0] == name }, 7)
	if line == nil || err != nil {
		return nil, err
	}
	uid, err := parseID(line[2])
	if err != nil {
		return nil, fmt.Errorf("read the user id of %s in %s: %w", name, d.file("passwd"), err)
	}
	u := &User{Name: name, UID: uid, Group: line[3], Comment: line[4], Home: line[5], Shell: line[6]}
	err = d.each("group", 4, func(f []string) bool {
		if f[2] == line[3] {
			u.Group = f[0]
		}
		if slices.Contains(strings.Split(f[3], ","), name) {
			u.Groups = append(u.Groups, f[0])
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	u.Locked, err = d.locked(name, line[1])
	if err != nil {
		return nil, err
	}
	return u, nil
}

// locked reports whether no password lets the user in. An "x" in passwd says that the
// password is in shadow; a user who isn't there has none that works (shadow(5)).
func (d Database) locked(name, password string) (bool, error) {
	if password == "x" {
		line, err := d.find("shadow", func(f []string) bool { return f[0] == name }, 2)
		if err != nil {
			return false, err
		}
		if line == nil {
			return true, nil
		}
		password = line[1]
	}
	return strings.HasPrefix(password, "!") || strings.HasPrefix(password, "*"), nil
}

// HasGroup reports whether a group is there.
func (d Database) HasGroup(name string) (bool, error) {
	line, err := d.find("group", func(f []string) bool { return f[0] == name }, 3)
	return line != nil, err
}

// UID finds a user's number. A decimal number is its own, as for chown(1).
func (d Database) UID(name string) (id int, found bool, err error) {
	return d.number("passwd", name)
}

// GID finds a group's number.
func (d Database) GID(name string) (id int, found bool, err error) {
	return d.number("group", name)
}

// UserName is the name of a number, and the number itself in decimal when it has none.
func (d Database) UserName(uid uint32) (string, error) { return d.name("passwd", uid) }

// GroupName is the name of a group's number.
func (d Database) GroupName(gid uint32) (string, error) { return d.name("group", gid) }

func (d Database) number(file, name string) (int, bool, error) {
	line, err := d.find(file, func(f []string) bool { return f[0] == name }, 3)
	if err != nil {
		return 0, false, err
	}
	text := name
	if line != nil {
		text = line[2]
	}
	id, err := parseID(text)
	if err != nil {
		if line != nil {
			return 0, false, fmt.Errorf("read the number of %s in %s: %w", name, d.file(file), err)
		}
		return 0, false, nil
	}
	return int(id), true, nil
}

func (d Database) name(file string, id uint32) (string, error) {
	number := strconv.FormatUint(uint64(id), 10)
	line, err := d.find(file, func(f []string) bool { return f[2] == number }, 3)
	if err != nil || line == nil {
		return number, err
	}
	return line[0], nil
}

// parseID refuses the number that stands for "leave as it is" in chown(2).
func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil && id == 1<<32-1 {
		err = errors.New("4294967295 is no user or group")
	}
	return uint32(id), err
}

func (d Database) file(name string) string { return filepath.Join(string(d), name) }

func (d Database) find(file string, is func(fields []string) bool, fields int) (found []string, err error) {
	err = d.each(file, fields, func(f []string) bool {
		if is(f) {
			found = f
		}
		return found == nil
	})
	return found, err
}

// each calls see with the fields of every line that has as many, until it returns false.
func (d Database) each(file string, fields int, see func([]string) bool) error {
	f, err := os.Open(d.file(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a group's list of members may be long
	for lines.Scan() {
		if parts := strings.Split(lines.Text(), ":"); len(parts) >= fields && !see(parts) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", d.file(file), err)
	}
	return nil
}
