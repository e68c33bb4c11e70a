package host

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// runtimeOf is the container runtime that a server needs, "" for one that runs in no container.
var runtimeOf = map[string]string{
	hostfile.RuntimeCompose: hostfile.RuntimeDocker,
	hostfile.RuntimeQuadlet: hostfile.RuntimePodman,
}

// toolkitPackage is NVIDIA's container toolkit, under one name in all of NVIDIA's archives.
const toolkitPackage = "nvidia-container-toolkit"

// OldestToolkit is the oldest version of NVIDIA's container toolkit that is used: in older ones a
// container can reach the host's file system (CVE-2025-23359).
const OldestToolkit = "1.17.4"

// runtimePackages are the packages of a container runtime, by the distribution's id.
func runtimePackages(runtime, distribution string) ([]string, error) {
	if runtime == hostfile.RuntimePodman {
		packages := []string{"podman"}
		if distribution == "debian" || distribution == "ubuntu" {
			// Podman runs without privileges only with these, which it merely recommends.
			packages = append(packages, "uidmap", "passt", "dbus-user-session")
		}
		return packages, nil
	}
	switch distribution {
	case "debian":
		return []string{"docker.io", "docker-cli", "docker-compose"}, nil
	case "ubuntu":
		return []string{"docker.io", "docker-compose-v2"}, nil
	case "fedora":
		return []string{"moby-engine", "docker-compose"}, nil
	}
	return nil, fmt.Errorf("how Docker is installed on %q isn't known here: install Docker and its Compose plugin by hand, and leave install out", distribution)
}

// declareContainers declares what llmhost sees to of the container runtimes.
func (c *InferenceHost) declareContainers(ctx *pulumi.Context, h *hostfile.Host, facts *hostfile.Facts) error {
	for i := range h.Containers {
		block := &h.Containers[i]
		if !block.Install {
			continue
		}
		if facts == nil {
			return fmt.Errorf("%s: which packages %s is made of depends on the host's distribution: run llmhost probe -s %s first", block.Range, block.Runtime, h.Name)
		}
		names, err := runtimePackages(block.Runtime, facts.OS.ID)
		if err != nil {
			return fmt.Errorf("%s: %w", block.At("install"), err)
		}
		if block.NVIDIA {
			names = append(names, toolkitPackage)
		}
		for _, name := range names {
			p, err := c.declarePackage(ctx, name, "")
			if err != nil {
				return fmt.Errorf("declare the package %s: %w", name, err)
			}
			for server, runtime := range runtimeOf {
				if runtime == block.Runtime {
					c.runtimes[server] = append(c.runtimes[server], p)
				}
			}
		}
	}
	return nil
}

// needRuntimes refuses servers whose container runtime is neither there nor asked for, before
// anything is changed. A host that wasn't probed is not judged.
func needRuntimes(h *hostfile.Host, facts *hostfile.Facts) error {
	if facts == nil || facts.Tools == (hostfile.ToolsFact{}) {
		return nil
	}
	for i := range h.Servers {
		s := &h.Servers[i]
		runtime := runtimeOf[s.Runtime]
		if runtime == "" {
			continue
		}
		block := h.ContainersOf(runtime)
		if block != nil && block.Install {
			continue
		}
		if missing := missingTools(runtime, facts.Tools); len(missing) > 0 {
			return fmt.Errorf("%s: server %q runs in a container, and the host has no %s: add containers %q { install = true }, or install it by hand; then run llmhost probe -s %s",
				s.At("runtime"), s.Name, strings.Join(missing, " and no "), runtime, h.Name)
		}
		if engine := h.Engine(s.Engine); block != nil && block.NVIDIA && engine != nil && s.UsesGPU(engine.Kind) {
			if err := checkToolkit(facts.Tools.NVIDIAToolkit); err != nil {
				return fmt.Errorf("%s: server %q: %w", block.At("nvidia"), s.Name, err)
			}
		}
	}
	return nil
}

func missingTools(runtime string, tools hostfile.ToolsFact) []string {
	var missing []string
	if runtime == hostfile.RuntimePodman {
		if tools.Podman == "" {
			missing = append(missing, "Podman")
		}
		return missing
	}
	if tools.Docker == "" {
		missing = append(missing, "Docker")
	}
	if tools.Compose == "" {
		missing = append(missing, "Compose plugin")
	}
	return missing
}

func checkToolkit(version string) error {
	switch {
	case version == "":
		return fmt.Errorf("the host has no %s: install it from NVIDIA's archive", toolkitPackage)
	case olderThan(version, OldestToolkit):
		return fmt.Errorf("the host's %s is %s, in which a container can reach the host's files (CVE-2025-23359): upgrade it to %s or newer", toolkitPackage, version, OldestToolkit)
	}
	return nil
}

// olderThan compares versions of numbers and dots.
func olderThan(version, other string) bool {
	a, b := strings.Split(version, "."), strings.Split(other, ".")
	for i := range b {
		var x, y int
		if i < len(a) {
			_, _ = fmt.Sscan(a[i], &x) // what is no number counts as 0
		}
		_, _ = fmt.Sscan(b[i], &y)
		if x != y {
			return x < y
		}
	}
	return false
}
