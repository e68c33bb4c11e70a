// Package model declares how a host keeps watch over its models.
//
// It exists so that a model which somebody or something changes is noticed by the host alone,
// whether or not anybody runs llmhost: each model has a record on the host of what it should be,
// a timer reads the models again, and a server is not started with one that isn't as it should be.
package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/sandbox"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/profile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
	"github.com/llmhost/llmhost/internal/signing"
)

// Program is the agent's program on the host, for the units that check models. It is the default
// of the Program resource's path.
const Program = "/usr/local/lib/llmhost/llmhost-agent"

// stateFolder is the agent's. What a check finds out is remembered there.
const stateFolder = "/var/lib/llmhost"

// The component's token and the names of its children are part of every URN, so they are never
// changed. A record has the model's name with "-record", a companion's MODEL/COMPANION-record.
const (
	watchToken  = "llmhost:model:Watch"
	programName = "watch-program"
	folderName  = "watch-records"
	serviceName = "verify-service"
	timerName   = "verify-timer"

	timerUnit = "llmhost-verify.timer"
)

// VerifyUnitName is the unit that reads all models again.
const VerifyUnitName = "llmhost-verify.service"

// Watch is how a host keeps watch over its models.
type Watch struct {
	pulumi.ResourceState

	program pulumi.Resource
	records map[string][]pulumi.Resource // by the model's name
}

// WatchArgs says over what.
type WatchArgs struct {
	Host *hostfile.Host
	// Models are the models on the host with their companions, by name. A record is written
	// after its model is there.
	Models map[string][]pulumi.Resource
}

// NewWatch declares the records of all models of a host, and the units that check them. The
// provider that reaches the host comes by opts.
func NewWatch(ctx *pulumi.Context, name string, args WatchArgs, opts ...pulumi.ResourceOption) (*Watch, error) {
	w := &Watch{records: map[string][]pulumi.Resource{}}
	if err := ctx.RegisterComponentResource(watchToken, name, w, opts...); err != nil {
		return nil, fmt.Errorf("declare the watch over the models: %w", err)
	}
	var err error
	w.program, err = llmhost.NewProgram(ctx, programName, &llmhost.ProgramArgs{Path: pulumi.String(Program)}, pulumi.Parent(w))
	if err != nil {
		return nil, fmt.Errorf("declare the program that checks models: %w", err)
	}
	folder, err := llmhost.NewDirectory(ctx, folderName, &llmhost.DirectoryArgs{
		Path: pulumi.String(checkrecord.Folder), Mode: pulumi.String("0755"),
	}, pulumi.Parent(w))
	if err != nil {
		return nil, fmt.Errorf("declare the folder of the models' records: %w", err)
	}
	after := []pulumi.Resource{w.program, folder}
	for i := range args.Host.Models {
		m := &args.Host.Models[i]
		recorded, err := records(args.Host, m)
		if err != nil {
			return nil, err
		}
		for _, r := range recorded {
			file, err := w.declareRecord(ctx, r, append([]pulumi.Resource{folder}, args.Models[m.Name]...))
			if err != nil {
				return nil, err
			}
			w.records[m.Name] = append(w.records[m.Name], file)
			after = append(after, file)
		}
	}
	if err := w.declareUnits(ctx, args.Host.VerifyEvery, after); err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}

// Needs are what has to be there before a server of the model is started: the program that
// checks it, and its records.
func (w *Watch) Needs(model string) []pulumi.Resource {
	return append([]pulumi.Resource{w.program}, w.records[model]...)
}

func (w *Watch) declareRecord(ctx *pulumi.Context, r checkrecord.Record, after []pulumi.Resource) (pulumi.Resource, error) {
	text, err := r.Text()
	if err != nil {
		return nil, err
	}
	file, err := llmhost.NewFile(ctx, r.Name+"-record", &llmhost.FileArgs{
		Path: pulumi.String(checkrecord.File(r.Name)), Content: pulumi.String(text), Mode: pulumi.String("0644"),
	}, pulumi.Parent(w), pulumi.DependsOn(after))
	if err != nil {
		return nil, fmt.Errorf("declare the record of model %q: %w", r.Name, err)
	}
	return file, nil
}

// records are the records of a model and its companions.
func records(h *hostfile.Host, m *hostfile.Model) ([]checkrecord.Record, error) {
	var servers []string
	for i := range h.Servers {
		if s := &h.Servers[i]; s.Model == m.Name {
			servers = append(servers, s.UnitName())
		}
	}
	signature, err := signatureOf(m)
	if err != nil {
		return nil, err
	}
	all := []checkrecord.Record{{
		Name: m.Name, Path: h.ModelFile(m), SHA256: m.SHA256, Folder: m.Source.Folder, Servers: servers, Signature: signature,
	}}
	for i := range m.Companions {
		c := &m.Companions[i]
		all = append(all, checkrecord.Record{
			Name: m.Name + "/" + c.Name, Path: h.CompanionFile(m, c), SHA256: c.SHA256, Servers: servers,
		})
	}
	return all, nil
}

// recordFiles are where the records of a model and its companions are on the host.
func recordFiles(m *hostfile.Model) []string {
	files := []string{checkrecord.File(m.Name)}
	for i := range m.Companions {
		files = append(files, checkrecord.File(m.Name+"/"+m.Companions[i].Name))
	}
	return files
}

// signatureOf reads the key and the signature that a model demands. A signature which only its
// source has can't be known here; then llmhost alone checks it, before the model is accepted.
func signatureOf(m *hostfile.Model) (*checkrecord.Signature, error) {
	if m.Signature == nil {
		return nil, nil
	}
	file := m.Signature.File
	if file == "" && m.Source.Kind == modelfile.Local {
		file = m.Source.Path + signing.Suffix
	}
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(m.Signature.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: model %q: read the key that must have signed it: %w", m.Signature.At("key"), m.Name, err)
	}
	bundle, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: model %q: read its signature, which llmhost model sign makes: %w", m.Signature.At("file"), m.Name, err)
	}
	return &checkrecord.Signature{PublicKey: string(key), Bundle: string(bundle), Name: filepath.Base(file)}, nil
}

// declareUnits declares the verification, and the timer that starts it unless that is never.
func (w *Watch) declareUnits(ctx *pulumi.Context, every time.Duration, after []pulumi.Resource) error {
	text, err := VerifyUnit(every).Text()
	if err != nil {
		return err
	}
	service, err := llmhost.NewSystemdUnit(ctx, serviceName, &llmhost.SystemdUnitArgs{
		Name: pulumi.String(VerifyUnitName), Content: pulumi.String(text), Enabled: pulumi.Bool(false), State: pulumi.String("onDemand"),
	}, pulumi.Parent(w), pulumi.DependsOn(after))
	if err != nil {
		return fmt.Errorf("declare the verification of the models: %w", err)
	}
	if every == 0 {
		return nil
	}
	if text, err = timer(every).Text(); err != nil {
		return err
	}
	_, err = llmhost.NewSystemdUnit(ctx, timerName, &llmhost.SystemdUnitArgs{
		Name: pulumi.String(timerUnit), Content: pulumi.String(text),
	}, pulumi.Parent(w), pulumi.DependsOn([]pulumi.Resource{service}))
	if err != nil {
		return fmt.Errorf("declare the timer of the verification: %w", err)
	}
	return nil
}

// tick is how often the timer fires: often enough for what is asked, and no more often than a
// machine should be woken.
func tick(every time.Duration) (calendar systemd.Text, tick, spread time.Duration) {
	if every >= 2*24*time.Hour {
		return "daily", 24 * time.Hour, time.Hour
	}
	return "hourly", time.Hour, 5 * time.Minute
}

// VerifyUnit reads the models again, but those that can wait for the timer's next tick: so each
// model is read once in the period, a run that a reboot has cut off goes on, and a machine that
// is off at night keeps the period too.
func VerifyUnit(every time.Duration) systemd.Unit {
	command := systemd.Command{Program, "verify"}
	if _, tick, spread := tick(every); every > tick+spread {
		command = append(command, "--max-age", hours(every-tick-spread))
	}
	u := checking("Verification of the models", append(command, checkrecord.Folder))
	u.Service.SyslogIdentifier = "llmhost-verify"
	// Whoever asks a model something comes first, for the disk, the processors and the memory
	// that holds the models' pages.
	u.Service.IOSchedulingClass = "idle"
	u.Service.CPUWeight = new(systemd.Count(1))
	u.Service.Nice = new(systemd.Integer(19))
	u.Service.MemoryHigh = new(systemd.Bytes(256 << 20))
	return u
}

// hours writes a duration without the parts that are zero.
func hours(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func timer(every time.Duration) systemd.Unit {
	calendar, _, spread := tick(every)
	return systemd.Unit{
		Kind: systemd.KindTimer,
		Unit: systemd.UnitSection{Description: "Verification of the models, in turn"},
		Timer: systemd.TimerSection{
			OnCalendar: calendar, RandomizedDelaySec: systemd.Duration(spread),
			Persistent: systemd.Yes, // one that was missed while the machine was off is made up for
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"timers.target"}},
	}
}

// CheckUnitName is the unit that a server's unit requires. No server's name can hold its "@".
func CheckUnitName(s *hostfile.Server) string { return "llmhost-check@" + s.Name + ".service" }

// CheckUnit looks at a server's models before each of its starts. It is a unit of its own because
// it is root, and so that it can be without being in the sandbox of the server.
func CheckUnit(s *hostfile.Server, m *hostfile.Model) systemd.Unit {
	u := checking(systemd.Text(fmt.Sprintf("Check of the models of server %s (%s)", s.Name, m.Name)),
		append(systemd.Command{Program, "check"}, recordFiles(m)...))
	// How often a server may start is its own unit's matter.
	u.Unit.StartLimitBurst = new(systemd.Count(100))
	u.Service.SyslogIdentifier = systemd.Keyword("llmhost-check-" + s.Name)
	return u
}

// checking is a service that reads models as root, and can do nothing else: it writes only the
// agent's state. A oneshot has no time limit: a model that isn't remembered is read as a whole.
func checking(description systemd.Text, command systemd.Command) systemd.Unit {
	u := systemd.Unit{Unit: systemd.UnitSection{Description: description}}
	if err := sandbox.Apply(&u, profile.Batch(), nil); err != nil {
		panic(fmt.Sprintf("the profile for checks is valid: %v", err)) // it is no input
	}
	u.Service.Type = "oneshot"
	u.Service.ExecStart = command
	u.Service.ReadWritePaths = systemd.Words{stateFolder}
	return u
}
