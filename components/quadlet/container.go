// Package quadlet renders model servers as Podman quadlets: containers that the service manager of
// a user without privileges runs.
//
// It exists so that a container of Podman's is as tight as a unit: a server is rendered from the
// same inference.Server, with everything closed that it can do without, and what the running
// container has to be is declared beside the text, so that the host is compared with it. Rendering
// is pure.
//
// The server has an id inside that is neither root's nor, outside, that of the user who runs
// Podman: what breaks out of the container is nobody, and can't even change the container that it
// came from. Only its group is that user's, by which it reads its model and lets clients in.
package quadlet

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/hostfile"
)

const (
	// programInside is the agent's program in the container, which starts the server and asks it: an
	// image need hold neither a shell nor curl.
	programInside = "/run/llmhost-agent"

	// insideUser is the server's id in the container unless the host file says another. Outside it
	// is one of the user's subordinate ids.
	insideUser = "1000"

	maxTasks   = 1024
	maxFiles   = 65536
	startBurst = 5
	startSpan  = 5 * time.Minute
	startDelay = 2 * time.Second

	// stopTimeout is for requests to end.
	stopTimeout = 30 * time.Second
	// stopSlack is for Podman to remove the container after the server has ended.
	stopSlack = 15 * time.Second
	// cpuPeriod is the kernel's for processor limits, in microseconds.
	cpuPeriod = 100_000
	// firstRenderNode: Linux numbers graphics cards from 0 and their render nodes from here.
	firstRenderNode = 128
)

// NameOf is the name of a server's quadlet, of its service and of its container.
func NameOf(s *hostfile.Server) string { return strings.TrimSuffix(s.UnitName(), ".service") }

// Container is a server's quadlet.
func Container(s *inference.Server) systemd.Unit {
	command := s.InContainer().Command()
	user, _, _ := strings.Cut(s.Server.User, ":")
	if user == "" {
		user = insideUser
	}
	u := systemd.Unit{
		Kind: systemd.KindContainer,
		Unit: systemd.UnitSection{
			Description:           systemd.Text(fmt.Sprintf("Model server %s (%s)", s.Server.Name, s.Model.Name)),
			StartLimitIntervalSec: systemd.Duration(startSpan),
			StartLimitBurst:       new(systemd.Count(startBurst)),
		},
		Container: systemd.ContainerSection{
			Image:         systemd.Setting(s.Engine.Image),
			ContainerName: systemd.Keyword(NameOf(&s.Server)),
			Entrypoint:    programInside,
			Exec:          slices.Concat(starter(s), command.Program, command.Args),
			Environment:   systemd.Environment(maps.Clone(command.Environment)),
			// What isn't on the host is no reason to look for it elsewhere.
			Pull: "never",

			User:  systemd.Keyword(user),
			Group: "0", // the user's own outside
			// The group that may read the models.
			GroupAdd: "keep-groups",

			ReadOnly:        systemd.Yes,
			ReadOnlyTmpfs:   systemd.No, // the folders in memory are those below
			NoNewPrivileges: systemd.Yes,
			DropCapability:  systemd.Words{"all"},

			Volume:   volumes(s, command),
			Timezone: systemd.Setting(s.Timezone),
			Network:  "none",

			PidsLimit:  new(systemd.Count(maxTasks)),
			Ulimit:     systemd.Settings{"core=0:0", systemd.Setting(fmt.Sprintf("nofile=%[1]d:%[1]d", maxFiles))},
			PodmanArgs: podmanArgs(s),

			HealthCmd:      systemd.Text(health(s)),
			HealthInterval: "30s",
			HealthTimeout:  "25s",
			HealthRetries:  new(systemd.Count(3)),
			// While it loads its model it isn't asked in vain.
			HealthStartPeriod: seconds(s.Server.ReadyTimeout),
			StopTimeout:       new(systemd.Count(stopTimeout / time.Second)),
			LogDriver:         "journald",
		},
		Service: systemd.ServiceSection{
			// As the user, who can read what the server can: a model that isn't the pinned one is not
			// started.
			ExecStartPre:    systemd.Commands{append(systemd.Command{model.Program, "check"}, records(s)...)},
			Restart:         "on-failure",
			RestartSec:      systemd.Duration(startDelay),
			TimeoutStartSec: systemd.Duration(s.Server.ReadyTimeout),
			TimeoutStopSec:  systemd.Duration(stopTimeout + stopSlack),
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"default.target"}},
	}
	for _, folder := range command.AllScratch() {
		c := &u.Container
		if folder.Path == "/dev/shm" {
			c.ShmSize = systemd.Setting(strconv.FormatUint(uint64(folder.Size), 10))
			continue
		}
		exec := "noexec"
		if folder.Exec {
			exec = "exec"
		}
		c.Tmpfs = append(c.Tmpfs, systemd.Setting(fmt.Sprintf("%s:size=%d,mode=1777,nodev,nosuid,%s", folder.Path, folder.Size, exec)))
	}
	openGPU(s, &u.Container)
	return u
}

// starter is what becomes the server: it removes the socket of the last start, lets the group open
// the new one, and says which model can't be read.
func starter(s *inference.Server) systemd.Arguments {
	args := systemd.Arguments{"start", "--socket", s.Server.Socket()}
	for _, m := range s.ModelBinds() {
		args = append(args, "--readable", m.Target)
	}
	return append(args, "--")
}

// volumes are the server's models and small files, read-only, and the folder of its socket, the
// only thing that it shares with its clients: Podman gives it to the server's id ("U").
func volumes(s *inference.Server, command inference.Command) systemd.Settings {
	bind := func(source, target, option string) systemd.Setting {
		return systemd.Setting(source + ":" + target + ":" + option)
	}
	v := systemd.Settings{bind(model.Program, programInside, "ro")}
	for _, m := range s.ModelBinds() {
		v = append(v, bind(m.Source, m.Target, "ro"))
	}
	for _, f := range command.Files {
		v = append(v, bind(s.HostFile(f), f.Inside, "ro"))
	}
	folder := path.Dir(s.Server.Socket())
	return append(v, bind(folder, folder, "U"))
}

// podmanArgs are what quadlets have no key for, or only newer ones than Debian's.
func podmanArgs(s *inference.Server) systemd.Arguments {
	memory := strconv.FormatUint(uint64(s.Server.Memory), 10)
	args := systemd.Arguments{
		"--memory=" + memory,
		"--memory-swap=" + memory, // no swap: prompts and answers are never written to a disk
		"--umask=0007",
		"--http-proxy=false", // no variables of the host's
		"--no-hosts",
	}
	if s.Server.CPUs > 0 {
		args = append(args, "--cpus="+strconv.FormatFloat(s.Server.CPUs, 'f', -1, 64))
	}
	return args
}

// openGPU gives the container its cards and no other device. NVIDIA's are named by the
// specification that its toolkit has generated (CDI).
func openGPU(s *inference.Server, c *systemd.ContainerSection) {
	if s.GPU == nil {
		return
	}
	for _, card := range s.GPU.Cards {
		device := card.Node
		switch {
		case s.GPU.Vendor == "nvidia":
			device = "nvidia.com/gpu=" + strconv.Itoa(card.Index)
		case device == "":
			device = fmt.Sprintf("/dev/dri/renderD%d", firstRenderNode+card.Index)
		}
		c.AddDevice = append(c.AddDevice, systemd.Setting(device))
	}
	if s.GPU.Vendor == "amd" {
		c.AddDevice = append(c.AddDevice, "/dev/kfd")
	}
}

func records(s *inference.Server) []string {
	records := []string{checkrecord.File(s.Model.Name)}
	for _, c := range s.Companions {
		records = append(records, checkrecord.File(s.Model.Name+"/"+c.Name))
	}
	return records
}

func seconds(d time.Duration) systemd.Setting {
	return systemd.Setting(strconv.Itoa(int(d/time.Second)) + "s")
}

// health is how the container is asked whether its server answers, as a JSON array: the names in
// it hold nothing that JSON would escape.
func health(s *inference.Server) string {
	return fmt.Sprintf(`["%s","answers","unix:%s","%s"]`, programInside, s.Server.Socket(), s.Model.Name)
}

// Running is what the container has to be while it runs, by the properties of a Quadlet's
// container.
func Running(s *inference.Server) map[string]string {
	c := Container(s).Container
	var mounts []string
	for _, v := range c.Volume {
		mount, isFolder := strings.CutSuffix(string(v), ":U")
		if isFolder {
			mount += ":rw"
		}
		mounts = append(mounts, mount)
	}
	slices.Sort(mounts)
	is := map[string]string{
		"image":           s.Engine.Image,
		"user":            string(c.User) + ":" + string(c.Group),
		"network":         "none",
		"ports":           "",
		"mounts":          strings.Join(mounts, " "),
		"readOnly":        "true",
		"privileged":      "false",
		"oomKilled":       "false",
		"capabilities":    "0000000000000000",
		"noNewPrivileges": "true",
		"seccomp":         "filter",
		"memory":          strconv.FormatUint(uint64(s.Server.Memory), 10),
		"swap":            "0",
		"tasks":           strconv.Itoa(maxTasks),
		"cpu":             "max",
	}
	if n := s.Server.CPUs; n > 0 {
		is["cpu"] = fmt.Sprintf("%d %d", int(n*cpuPeriod), cpuPeriod)
	}
	return is
}
