package hostfile

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/internal/modelfile"
)

var (
	modelSource     = located("a source", parseModelSource)
	companionSource = located("a source", parseCompanionSource)
	verifyPeriod    = quoted("a duration or `off`", parseVerifyPeriod)
	hubEndpoint     = quoted("an address", parseHubEndpoint)
)

func parseModelSource(in scope, s string) (modelfile.Source, error) {
	source, err := modelfile.ParseSource(s)
	if err != nil {
		return source, sourceFault(err)
	}
	switch source.Kind {
	case modelfile.Local:
		if source.Path, err = parseLocalPath(in, source.Path); err != nil {
			return source, err
		}
		source.Text = source.Path
	case modelfile.Hub:
		if !source.Immutable() {
			return source, faultf(fmt.Sprintf("is at the revision %q, which may mean other files tomorrow", source.Revision),
				"Write a commit's 40 hexadecimal digits: llmhost model add finds the one that %s is now.", source.Revision)
		}
	case modelfile.Host:
		err = checkHostSource(source)
	}
	return source, err
}

// sourceFault continues a sentence that starts with the attribute's name.
func sourceFault(err error) error {
	var wrong *modelfile.SourceError
	if !errors.As(err, &wrong) {
		return err
	}
	return faultf(fmt.Sprintf("is %q: it %s", wrong.Text, wrong.Problem), "%s", wrong.Hint)
}

func parseCompanionSource(in scope, s string) (modelfile.Source, error) {
	source, err := parseModelSource(in, s)
	if err == nil && source.Folder {
		return source, faultf(fmt.Sprintf("is %q, which isn't one GGUF file", s), "A companion is one file whose name ends in .gguf.")
	}
	return source, err
}

// checkHostSource refuses what can't be a model that stays where it is on the host.
func checkHostSource(source modelfile.Source) error {
	wrong := func(problem, hint string, args ...any) error {
		return faultf(fmt.Sprintf("is %q, which ", source.Text)+problem, hint, args...)
	}
	// A folder that is adopted belongs to llmhost with all that is in it.
	folder := source.Path
	if _, shard := source.Shard(); shard {
		folder = path.Dir(source.Path)
	}
	if !plainPath.MatchString(source.Path) {
		return wrong("has characters that a systemd unit gives a meaning", "It takes letters, digits and . _ - /.")
	}
	for _, system := range systemFolders {
		if within(source.Path, system) {
			return wrong("belongs to the operating system", "Move the model to a folder such as %q.", DefaultModelsPath)
		}
	}
	for _, shared := range sharedFolders {
		if source.Folder && (folder == shared || folder == "/") {
			return wrong("is in a folder that holds other things too", "A model of several files has a folder of its own, such as %q.", path.Join(shared, "models/NAME"))
		}
	}
	for _, own := range ownFolders {
		if within(source.Path, own.path) || source.Folder && within(own.path, folder) {
			return wrong(fmt.Sprintf("is where llmhost keeps %s", own.holds), "Move the model to a folder such as %q.", DefaultModelsPath)
		}
	}
	return nil
}

// parseVerifyPeriod reads how often models are read again; "off" is 0.
func parseVerifyPeriod(s string) (time.Duration, error) {
	return parsePeriod(s, "off", time.Hour, 365*24*time.Hour)
}

func parseHubEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", faultf(fmt.Sprintf("is %q, which is no address", s), "Write it as %q.", DefaultHub)
	case u.User != nil:
		return "", faultf("has a user name in it", "A host file holds no secret: set the stack's secret llmhost:modelToken.")
	case u.Scheme == "http" && !modelfile.Loopback(u.Hostname()):
		return "", faultf(fmt.Sprintf("is %q, which isn't encrypted", s), "Write %q. Only an address of the host itself may be http.", "https"+strings.TrimPrefix(s, "http"))
	case u.RawQuery != "" || u.Fragment != "" || unsafePath.MatchString(s):
		return "", faultf(fmt.Sprintf("is %q, which has more than a host and a path", s), "Write it as %q.", DefaultHub)
	}
	return strings.TrimRight(s, "/"), nil
}

// checkModels looks at each model's attributes beside each other, and at where all of them are on the host.
func (d *decoder) checkModels(h *Host) {
	checkUnique(d, "model", h.Models, func(m *Model) string { return m.Name })
	var places []modelPlace
	for i := range h.Models {
		m := &h.Models[i]
		checkUnique(d, "companion", m.Companions, func(c *Companion) string { return c.Name })
		if _, written := m.Attributes["download"]; written && m.Source.Kind != "" && m.Source.Kind != modelfile.HTTPS && m.Source.Kind != modelfile.Hub {
			d.errorAt(m.At("download"), fmt.Sprintf("download of model %q has no meaning", m.Name), "Its source is neither https:// nor hf://, so nothing is downloaded. Remove it.")
		}
		if s := m.Signature; s != nil && s.File == "" && m.Source.Kind != "" && m.Source.Kind != modelfile.Local {
			d.errorAt(s.Range, fmt.Sprintf("signature of model %q has no file", m.Name), "Only beside a local source it is found by itself. Get the signature and name it: file = %q.", "~/signatures/"+m.Name+".sig")
		}
		if m.Source.Kind != "" && m.Name != "" {
			places = append(places, modelPlace{fmt.Sprintf("model %q", m.Name), m.Name, h.ModelFile(m), m.Source.Folder, m.At("source")})
		}
		for j := range m.Companions {
			if c := &m.Companions[j]; c.Source.Kind != "" && c.Name != "" {
				places = append(places, modelPlace{fmt.Sprintf("companion %q of model %q", c.Name, m.Name), m.Name + " " + c.Name, h.CompanionFile(m, c), false, c.At("source")})
			}
		}
	}
	d.checkModelPlaces(h, places)
}

// modelPlace is where a model or a companion is on the host.
type modelPlace struct {
	what   string
	name   string // those of one name are reported already
	path   string
	folder bool
	at     hcl.Range
}

func (d *decoder) checkModelPlaces(h *Host, places []modelPlace) {
	var taken []modelPlace
	for _, p := range places {
		if p.folder && within(h.ModelsPath, p.path) {
			d.errorAt(p.at, fmt.Sprintf("%s is the folder of all models", p.what), "A model of several files has a folder of its own, such as %s/NAME.", h.ModelsPath)
			continue
		}
		for _, other := range taken {
			if other.name == p.name || !(within(p.path, other.path) || within(other.path, p.path)) {
				continue
			}
			d.errorAt(p.at, fmt.Sprintf("%s has the place of another", p.what), "On the host it is %s, and %s at %s is %s. Give it another name or source.",
				p.path, other.what, position(other.at), other.path)
			break
		}
		taken = append(taken, p)
	}
}
