package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// What a user needs to run containers without privileges, by the names under which a lack of it
// is reported.
const (
	NeedsHome   = "home"           // a folder of its own, for images
	NeedsIDs    = "subordinateIds" // ids for the users in its containers (subuid(5))
	NeedsLinger = "linger"         // a service manager that runs without a login
)

const (
	// idsPerUser is how many ids a user's containers have: those that a user namespace of a
	// distribution's useradd gets, too.
	idsPerUser = 1 << 16
	// firstID is where such ranges begin (SUB_UID_MIN in login.defs(5)).
	firstID = 100_000

	// homeMode keeps images and their layers from other users.
	homeMode = 0o700
)

// lingerFolder has a file for each user whose manager runs without a login (loginctl(1)).
var lingerFolder = "/var/lib/systemd/linger"

// Lacks lists what a user doesn't have of what containers without privileges need.
func (d Database) Lacks(u *User) ([]string, error) {
	var lacks []string
	gid, _, err := d.GID(u.Group)
	if err != nil {
		return nil, err
	}
	home, err := durable.Lstat(u.Home)
	if err != nil && !errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	if home == nil || home.Type != durable.Directory || !home.Matches(homeAttributes(u, gid)) {
		lacks = append(lacks, NeedsHome)
	}
	enough, err := d.hasIDs(u.Name)
	if err != nil {
		return nil, err
	}
	if !enough {
		lacks = append(lacks, NeedsIDs)
	}
	if _, err := os.Stat(filepath.Join(lingerFolder, u.Name)); errors.Is(err, fs.ErrNotExist) {
		lacks = append(lacks, NeedsLinger)
	} else if err != nil {
		return nil, err
	}
	return lacks, nil
}

func homeAttributes(u *User, gid int) durable.Attributes {
	return durable.Attributes{UID: int(u.UID), GID: gid, Mode: homeMode}
}

// Equip gives a user what containers without privileges need. Its manager is started by systemd,
// a moment after it is to linger.
func (d Database) Equip(ctx context.Context, name string) (changed bool, err error) {
	u, err := d.User(name)
	if err != nil {
		return false, err
	}
	if u == nil {
		return false, fault.New(agentpb.Reason_NO_SUCH_USER, "there is no user %q on the host", name)
	}
	lacks, err := d.Lacks(u)
	if err != nil {
		return false, err
	}
	for _, what := range lacks {
		switch what {
		case NeedsHome:
			err = d.makeHome(u)
		case NeedsIDs:
			err = d.addIDs(ctx, name)
		case NeedsLinger:
			_, err = run(ctx, "loginctl", "enable-linger", "--", name)
		}
		if err != nil {
			return true, err
		}
	}
	return len(lacks) > 0, nil
}

// makeHome makes the user's home folder, and takes no folder of somebody else's.
func (d Database) makeHome(u *User) error {
	gid, _, err := d.GID(u.Group)
	if err != nil {
		return err
	}
	parent, name, err := durable.Parent(u.Home)
	if err != nil {
		return fault.OfPath("make", u.Home, err)
	}
	defer parent.Close()
	is, err := parent.Lstat(name)
	switch {
	case err != nil:
		return fault.OfPath("make", u.Home, err)
	case is == nil:
		return fault.OfPath("make", u.Home, parent.Mkdir(name, homeAttributes(u, gid)))
	case is.Type != durable.Directory || is.UID != u.UID:
		return fault.New(agentpb.Reason_NOT_OWNED, "%s, which is to be the home folder of %s, is a %s of somebody else's", u.Home, u.Name, is.Type).With("path", u.Home)
	}
	return fault.OfPath("set the attributes of", u.Home, parent.SetOnDirectory(name, homeAttributes(u, gid)))
}

// hasIDs reports whether a user has as many subordinate ids of both sorts as containers need.
func (d Database) hasIDs(name string) (bool, error) {
	for _, file := range []string{"subuid", "subgid"} {
		var total uint64
		err := d.each(file, 3, func(f []string) bool {
			if n, err := strconv.ParseUint(f[2], 10, 32); f[0] == name && err == nil {
				total += n
			}
			return true
		})
		if err != nil || total < idsPerUser {
			return false, err
		}
	}
	return true, nil
}

// addIDs gives a user the same range of both sorts, above all that are given away.
func (d Database) addIDs(ctx context.Context, name string) error {
	first := uint64(firstID)
	for _, file := range []string{"subuid", "subgid"} {
		err := d.each(file, 3, func(f []string) bool {
			start, startErr := strconv.ParseUint(f[1], 10, 32)
			n, err := strconv.ParseUint(f[2], 10, 32)
			if startErr == nil && err == nil {
				first = max(first, start+n)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	last := first + idsPerUser - 1
	if last >= 1<<32-1 {
		return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "there are no %d ids left for the containers of %s: see /etc/subuid", idsPerUser, name)
	}
	span := fmt.Sprintf("%d-%d", first, last)
	_, err := run(ctx, "usermod", "--add-subuids", span, "--add-subgids", span, "--", name)
	return err
}

// Strip takes away what Equip has given, with all images. The user's manager must have been
// stopped. The ids go with the user's entry.
func (d Database) Strip(ctx context.Context, u *User) error {
	if _, err := os.Stat(filepath.Join(lingerFolder, u.Name)); err == nil {
		if _, err := run(ctx, "loginctl", "disable-linger", "--", u.Name); err != nil {
			return err
		}
	}
	parent, name, err := durable.Parent(u.Home)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fault.OfPath("remove", u.Home, err)
	}
	defer parent.Close()
	is, err := parent.Lstat(name)
	if err != nil || is == nil || is.Type != durable.Directory || is.UID != u.UID {
		return fault.OfPath("remove", u.Home, err) // what has taken its place is somebody else's
	}
	return fault.OfPath("remove", u.Home, parent.RemoveAll(name))
}
