package hostfile

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// ownFolders are llmhost's own on the host, besides the models folder.
var ownFolders = []ownFolder{
	{"/var/lib/llmhost", "its agent and its ledger"},
	{"/opt/llmhost", "the engines"},
	{"/run/llmhost", "the servers' sockets"},
	{"/usr/local/lib/llmhost", "its program"},
	{"/etc/llmhost/models.d", "what the models should be"},
	{"/etc/llmhost/servers", "what engines read"},
	{"/etc/llmhost/credentials", "the credentials"},
	{"/run/llmhost-secrets", "the secrets of containers"},
}

// ownFiles are files that blocks of their own write.
var ownFiles = []ownFolder{
	{"/etc/ssh/sshd_config.d/10-llmhost.conf", "written by the sshd block"},
	{"/etc/llmhost/firewall.nft", "written by the firewall block"},
	{"/etc/audit/rules.d/60-llmhost.rules", "written by audit = true"},
	{"/etc/systemd/system/llmhost-firewall.service", "the firewall block's unit"},
	{"/etc/systemd/system/llmhost-undo.service", "what undoes unconfirmed changes"},
}

// verifyUnit is llmhost's own unit that no server's unit may replace.
const verifyUnit = "llmhost-verify.service"

type ownFolder struct{ path, holds string }

// check finds the faults that no value has on its own: what contradicts, repeats or refers to something that isn't there.
func (d *decoder) check(h *Host) {
	d.checkName(h)
	d.checkConnection(h)
	d.checkGPUs(h)
	d.checkContainers(h)
	d.checkEngines(h)
	d.checkModels(h)
	d.checkServers(h)
	d.checkGroups(h)
	d.checkSecrets(h)
	d.checkPaths(h)
	d.checkConfinement(h)
}

func (d *decoder) checkName(h *Host) {
	base := strings.TrimSuffix(filepath.Base(h.File), Extension)
	if h.Name == "" || h.Name == base {
		return
	}
	d.errorAt(h.Range, fmt.Sprintf("host %q is in a file of another name", h.Name),
		"Write host %q, or rename the file to %s.", base, h.Name+Extension)
}

func (d *decoder) checkConnection(h *Host) {
	switch {
	case h.SSH == nil && h.Local == nil && !d.misspelt["ssh"] && !d.misspelt["local"]:
		d.errorAt(h.Range, "the host has neither ssh nor local",
			"Add ssh { address = … }, or local {} when the host is the machine that llmhost runs on.")
	case h.SSH != nil && h.Local != nil:
		d.errorAt(h.Local.Range, "both ssh and local", "The ssh block is at %s. Keep one of them.", position(h.SSH.Range))
	}
}

func (d *decoder) checkEngines(h *Host) {
	checkUnique(d, "engine", h.Engines, func(e *Engine) string { return e.Name })
	for i := range h.Engines {
		e := &h.Engines[i]
		d.checkForm(e)
		if _, written := e.Attributes["kind"]; written || e.Name == "" {
			d.checkKind(e)
			continue
		}
		e.Kind = e.Name
		d.checkKind(e)
		if _, err := engineKind.decode(d.scope, cty.StringVal(e.Name)); err != nil {
			meant := nearest(e.Name, engineKinds)
			d.meantEngines = append(d.meantEngines, meant)
			d.errorAt(e.Range, fmt.Sprintf("engine %q is of an unknown kind", e.Name),
				"%sKnown: %s. A block of another name says its kind: kind = %q.", didYouMean(meant), list(engineKinds), KindLlamaCpp)
		}
	}
}

// checkForm refuses an engine that comes in no way or in several.
func (d *decoder) checkForm(e *Engine) {
	written := func(attribute string) bool { _, ok := e.Attributes[attribute]; return ok }
	var forms []string
	for _, form := range []string{"image", "package", "requirements"} {
		if written(form) {
			forms = append(forms, form)
		}
	}
	if written("source") && !written("image") {
		forms = append(forms, "source")
	}
	const known = "An engine is an archive (source), a container image (image, with source for one that isn't pulled), a package (package) or a Python environment (requirements)."
	switch {
	case len(forms) == 0 && !written("source"):
		d.errorAt(e.Range, fmt.Sprintf("engine %q has no source", e.Name), known)
		d.concerns("source")
	case len(forms) > 1:
		d.errorAt(e.At(forms[1]), fmt.Sprintf("engine %q has both %s and %s", e.Name, forms[0], forms[1]), "%s Keep one.", known)
	case written("source") && !written("sha256"):
		d.errorAt(e.Range, fmt.Sprintf("engine %q has no sha256", e.Name), "SHA-256 of the archive. llmhost pin writes it.")
		d.concerns("sha256")
	case written("sha256") && !written("source"):
		d.errorAt(e.At("sha256"), fmt.Sprintf("engine %q has a sha256 and no source", e.Name), "It is the digest of the archive that source names. Remove it.")
	case written("image") && written("source") != imageByID.MatchString(e.Image) && e.Image != "":
		d.errorAt(e.At("image"), fmt.Sprintf("image is %q, which doesn't fit how it comes to the host", e.Image),
			"One that is loaded from source is named by its id, sha256:ID (llmhost pin writes it); one that is pulled by NAME@sha256:DIGEST.")
		if written("source") {
			d.concerns("image") // pinning the archive mends it
		}
	}
}

// checkRuntime refuses an engine that the server's runtime can't run, and attributes that it has no use for.
func (d *decoder) checkRuntime(h *Host, s *Server) {
	written := func(attribute string) bool { _, ok := s.Attributes[attribute]; return ok }
	inContainer := s.Runtime == RuntimeCompose || s.Runtime == RuntimeQuadlet
	if s.Runtime != RuntimeCompose && written("project") {
		d.errorAt(s.At("project"), "project is for the runtime compose", "Remove it, or set runtime = %q.", RuntimeCompose)
	}
	if !inContainer && written("user") {
		d.errorAt(s.At("user"), "user is for containers", "A systemd unit has a user of its own, %s. Remove it.", s.UserName())
	}
	e := h.Engine(s.Engine)
	if e == nil || s.Runtime == "" {
		return
	}
	if image := e.Form() == FormImage; image != inContainer {
		form := map[string]string{FormArchive: "an archive", FormPackage: "a package", FormVenv: "a Python environment", FormImage: "a container image"}[e.Form()]
		hint := fmt.Sprintf("Use an engine that is a container image, or runtime = %q.", RuntimeSystemd)
		if image {
			hint = fmt.Sprintf("Set runtime = %q or %q, or use an engine of another form.", RuntimeCompose, RuntimeQuadlet)
		}
		d.errorAt(s.At("engine"), fmt.Sprintf("engine %q is %s, which the runtime %s can't run", e.Name, form, s.Runtime), "%s", hint)
	}
	d.checkOllama(h, s)
	for _, attribute := range []string{"quantization", "attention_backend", "gpu_memory_utilization"} {
		if e.Kind != KindVLLM && written(attribute) {
			d.errorAt(s.At(attribute), fmt.Sprintf("%s is for engines of the kind %s", attribute, KindVLLM), "Engine %q is of the kind %s. Remove it.", e.Name, e.Kind)
		}
	}
	if e.Kind == KindVLLM && written("gpu_layers") {
		d.errorAt(s.At("gpu_layers"), "gpu_layers isn't for engines of the kind vllm", "vLLM puts the whole model on the GPU. Remove it.")
	}
	if s.UsesGPU(e.Kind) && len(h.GPUs) == 0 && s.GPULayers == 0 {
		d.errorAt(s.Range, fmt.Sprintf("server %q uses a GPU, and the host has no gpu block", s.Name), "Add a block such as gpu \"nvidia\" { … }.")
	}
	for _, index := range s.GPUs {
		if len(h.GPUs) > 0 && h.GPU(index) == nil {
			d.errorAt(s.At("gpus"), fmt.Sprintf("gpus names the GPU %d, and no gpu block has that index", index), "Add a gpu block with index = %d, or use another.", index)
		}
	}
}

func (d *decoder) checkGPUs(h *Host) {
	for i := range h.GPUs {
		g := &h.GPUs[i]
		for _, other := range h.GPUs[:i] {
			if other.Vendor != g.Vendor && other.Vendor != "" {
				d.errorAt(g.Range, fmt.Sprintf("gpu %q beside gpu %q", g.Vendor, other.Vendor), "The first is at %s. A host's GPUs are of one vendor.", position(other.Range))
				break
			}
			if other.Index == g.Index {
				d.errorAt(g.Range, fmt.Sprintf("a second gpu with index %d", g.Index), "The first is at %s. Give each the number that the driver gives it: index = %d.", position(other.Range), i)
				break
			}
		}
		if g.PowerLimit > 0 && g.Vendor != "nvidia" && g.Vendor != "" {
			d.errorAt(g.At("power_limit"), "power_limit is for NVIDIA's cards", "It is set with nvidia-smi. Remove it.")
		}
	}
}

// checkGroups refuses groups whose servers can't take turns.
func (d *decoder) checkGroups(h *Host) {
	for i := range h.Servers {
		s := &h.Servers[i]
		if s.Exclusive != "" && s.Runtime != RuntimeSystemd && s.Runtime != "" {
			d.errorAt(s.At("exclusive"), fmt.Sprintf("server %q runs in a container and can't be in an exclusive group", s.Name),
				"systemd makes the servers of a group take turns. Set runtime = %q, or remove exclusive.", RuntimeSystemd)
		}
	}
}

func (d *decoder) checkServers(h *Host) {
	checkUnique(d, "server", h.Servers, func(s *Server) string { return s.Name })
	engines := append(namesOf(h.Engines, func(e *Engine) string { return e.Name }), d.meantEngines...)
	models := namesOf(h.Models, func(m *Model) string { return m.Name })
	addresses := map[netip.AddrPort]*Server{}
	for i := range h.Servers {
		s := &h.Servers[i]
		d.checkReference(s.At("engine"), "engine", s.Engine, engines)
		d.checkReference(s.At("model"), "model", s.Model, models)
		d.checkEntry(h, s)
		if s.UnitName() == verifyUnit {
			d.errorAt(s.Range, fmt.Sprintf("a server can't be named %q", s.Name), "Its unit would be %s, which verifies the models. Use another name.", verifyUnit)
		}
		d.checkRuntime(h, s)
		d.checkAppArmor(s)
		d.checkMemory(h, s)
		d.checkSandbox(s)
		if s.GPULayers > 0 && len(h.GPUs) == 0 {
			d.errorAt(s.At("gpu_layers"), fmt.Sprintf("gpu_layers is %d on a host without a gpu block", s.GPULayers),
				"Add a block such as gpu \"nvidia\" { … }, or set gpu_layers to 0.")
		}
		if !s.Listen.Addr.IsValid() {
			continue
		}
		// Servers that take turns may have one address, so that clients find whichever runs.
		if other, taken := addresses[s.Listen.Addr]; taken && (s.Exclusive == "" || s.Exclusive != other.Exclusive) {
			d.errorAt(s.At("listen"), fmt.Sprintf("listen is %q, which server %q has already", s.Listen, other.Name),
				"That is at %s. Give each server a port of its own.", position(other.At("listen")))
			continue
		}
		addresses[s.Listen.Addr] = s
	}
}

// checkEntry refuses a model that the server's engine can't be started with.
func (d *decoder) checkEntry(h *Host, s *Server) {
	engine, model := h.Engine(s.Engine), h.Model(s.Model)
	if engine == nil || model == nil {
		return
	}
	if engine.Kind == KindVLLM && !model.Source.Folder {
		d.errorAt(s.At("model"), fmt.Sprintf("model %q is a file, and %s is started with a folder", s.Model, KindVLLM),
			"Its source is at %s. Name a folder that holds config.json and safetensors.", position(model.At("source")))
	}
	if engine.Kind == KindVLLM || !model.Source.Folder {
		return
	}
	if engine.Kind == KindOllama {
		d.errorAt(s.At("model"), fmt.Sprintf("model %q is a folder, and %s serves one file", s.Model, KindOllama),
			"Its source is at %s. Merge the shards (llama-gguf-split --merge), or use llama.cpp.", position(model.At("source")))
		return
	}
	if _, shard := model.Source.Shard(); !shard {
		d.errorAt(s.At("model"), fmt.Sprintf("model %q is a folder, and %s is started with a file", s.Model, engine.Kind),
			"Its source at %s names no GGUF file. Name the file, or the first shard: PREFIX-00001-of-00003.gguf.", position(model.At("source")))
	}
}

// checkReference reports a name that no block of the kind has.
func (d *decoder) checkReference(at hcl.Range, kind, name string, declared []string) {
	if name == "" || slices.Contains(declared, name) || d.misspelt[kind] {
		return
	}
	hint := didYouMean(nearest(name, declared))
	if len(declared) > 0 {
		hint += fmt.Sprintf("This host file declares %s. ", list(declared))
	} else {
		hint += fmt.Sprintf("This host file declares no %s. ", kind)
	}
	if kind == "engine" {
		hint += fmt.Sprintf("llmhost runs engines of the kinds %s. ", list(engineKinds))
	}
	d.errorAt(at, fmt.Sprintf("unknown %s %q", kind, name), "%sAdd a block %s %q { … } or use another.", hint, kind, name)
}

// checkPaths looks at what the user places on the host beside each other and beside what llmhost places there itself.
func (d *decoder) checkPaths(h *Host) {
	type entry struct {
		kind  string
		place *Place
	}
	entries := map[string]entry{}
	add := func(kind, path string, place *Place) {
		if path == "" {
			return
		}
		if other, taken := entries[path]; taken {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is declared already", kind, path), "The %s block is at %s.", other.kind, position(other.place.Range))
			return
		}
		entries[path] = entry{kind, place}
		d.checkForeign(h, kind, path, place)
	}
	for i := range h.Directories {
		add("directory", h.Directories[i].Path, &h.Directories[i].Place)
	}
	for i := range h.Files {
		f := &h.Files[i]
		add("file", f.Path, &f.Place)
		d.checkContent(f)
	}
	for _, path := range slices.Sorted(maps.Keys(entries)) {
		for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if parent, ok := entries[dir]; ok && parent.kind == "file" {
				e := entries[path]
				d.errorAt(e.place.Range, fmt.Sprintf("%s %q is below a file", e.kind, path), "The block file %q is at %s.", dir, position(parent.place.Range))
			}
		}
	}
}

func (d *decoder) checkContent(f *File) {
	_, content := f.Attributes["content"]
	_, source := f.Attributes["source"]
	switch {
	case content && source:
		d.errorAt(f.At("source"), "both content and source", "The content is at %s. Keep one of them.", position(f.At("content")))
	case !content && !source:
		d.errorAt(f.Range, fmt.Sprintf("file %q has no content", f.Path), "Add content = \"…\", or source with the path of a local file.")
	}
}

// checkForeign refuses paths that llmhost itself writes.
func (d *decoder) checkForeign(h *Host, kind, path string, place *Place) {
	for _, own := range append([]ownFolder{{h.ModelsPath, "the models"}}, ownFolders...) {
		if within(path, own.path) {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is llmhost's own", kind, path), "llmhost keeps %s in %s. Use another folder.", own.holds, own.path)
			return
		}
	}
	for _, own := range ownFiles {
		if path == own.path {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is llmhost's own", kind, path), "It is %s.", own.holds)
			return
		}
	}
	for i := range h.Models {
		if m := &h.Models[i]; m.Source.Kind == modelfile.Host && within(path, h.ModelFile(m)) {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is llmhost's own", kind, path), "It belongs to model %q at %s.", m.Name, position(m.Range))
			return
		}
	}
	for i := range h.Servers {
		s := &h.Servers[i]
		unit := "/etc/systemd/system/" + s.UnitName()
		if path == unit || within(path, unit+".d") {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is llmhost's own", kind, path), "It belongs to the unit of server %q at %s.", s.Name, position(s.Range))
			return
		}
	}
}

// checkUnique reports names that an earlier block of the same kind has.
func checkUnique[T any, P interface {
	*T
	placed
}](d *decoder, kind string, blocks []T, nameOf func(*T) string) {
	first := map[string]*Place{}
	for i := range blocks {
		name, place := nameOf(&blocks[i]), P(&blocks[i]).place()
		if name == "" {
			continue
		}
		if other, taken := first[name]; taken {
			d.errorAt(place.Range, fmt.Sprintf("%s %q is declared already", kind, name), "The first is at %s.", position(other.Range))
			continue
		}
		first[name] = place
	}
}

func namesOf[T any](blocks []T, nameOf func(*T) string) []string {
	var names []string
	for i := range blocks {
		names = append(names, nameOf(&blocks[i]))
	}
	return names
}
