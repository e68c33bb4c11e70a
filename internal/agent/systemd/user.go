package systemd

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// UserManagerUnit is the unit in which the manager of a user's services runs.
func UserManagerUnit(uid int) string { return fmt.Sprintf("user@%d.service", uid) }

// UserRuntimeDir is where a user's manager and its services have their sockets.
func UserRuntimeDir(uid int) string { return "/run/user/" + strconv.Itoa(uid) }

// OfUser is the manager of a user's services. The caller closes it.
func OfUser(uid int) *Manager {
	return &Manager{socket: "unix:path=" + UserRuntimeDir(uid) + "/systemd/private"}
}

// UserJournal is Journal for a service of a user's manager: what it has said, and what its manager
// says of it.
func UserJournal(ctx context.Context, uid int, name string) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	whose := "_UID=" + strconv.Itoa(uid)
	cmd := exec.CommandContext(ctx, "journalctl", "--lines="+strconv.Itoa(JournalLines), "--no-pager", "--quiet", "--output=cat",
		"_SYSTEMD_USER_UNIT="+name, whose, "+", "USER_UNIT="+name, whose)
	return lastLines(cmd)
}
