package host

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/confinement"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// The names of what confines the host, which are for ever as the others are.
const (
	sshdName         = "sshd"
	firewallName     = "firewall"
	firewallUnitName = "firewall-unit"
	auditName        = "audit"
)

// declareConfinement declares what confines the host as a whole. Each is there only if the host
// file asks for it.
func (c *InferenceHost) declareConfinement(ctx *pulumi.Context, h *hostfile.Host, facts *hostfile.Facts) error {
	if h.Sshd != nil {
		if err := c.declareSshd(ctx, h); err != nil {
			return err
		}
	}
	if h.Firewall != nil {
		if err := c.declareFirewall(ctx, h, facts); err != nil {
			return err
		}
	}
	if h.Audit {
		return c.declareAudit(ctx, h)
	}
	return nil
}

func (c *InferenceHost) declareSshd(ctx *pulumi.Context, h *hostfile.Host) error {
	settings := confinement.Sshd{Sshd: h.Sshd}
	text, err := settings.Text()
	if err != nil {
		return err
	}
	_, err = llmhost.NewSshdConfig(ctx, sshdName, &llmhost.SshdConfigArgs{
		Path:      pulumi.String(confinement.SshdPath),
		Content:   pulumi.String(text),
		Effective: pulumi.ToStringMap(settings.Effective()),
	}, pulumi.Parent(c))
	if err != nil {
		return fmt.Errorf("declare the settings of sshd: %w", err)
	}
	return nil
}

// declareFirewall declares the filter, and then what loads it at a boot: a filter that is undone
// is never made permanent.
func (c *InferenceHost) declareFirewall(ctx *pulumi.Context, h *hostfile.Host, facts *hostfile.Facts) error {
	text, err := confinement.NewFirewall(h, facts).Text()
	if err != nil {
		return err
	}
	firewall, err := llmhost.NewFirewall(ctx, firewallName, &llmhost.FirewallArgs{
		Path:    pulumi.String(confinement.FirewallPath),
		Content: pulumi.String(text),
	}, pulumi.Parent(c))
	if err != nil {
		return fmt.Errorf("declare the firewall: %w", err)
	}
	unit, err := confinement.FirewallUnit().Text()
	if err != nil {
		return fmt.Errorf("the unit of the firewall: %w", err)
	}
	_, err = llmhost.NewSystemdUnit(ctx, firewallUnitName, &llmhost.SystemdUnitArgs{
		Name:    pulumi.String(confinement.FirewallUnitName),
		Content: pulumi.String(unit),
	}, pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{firewall}))
	if err != nil {
		return fmt.Errorf("declare the unit of the firewall: %w", err)
	}
	return nil
}

// declareAudit declares the rules after what they watch: a rule for a folder that isn't there is
// refused.
func (c *InferenceHost) declareAudit(ctx *pulumi.Context, h *hostfile.Host) error {
	text, err := confinement.NewAuditRules(h).Text()
	if err != nil {
		return err
	}
	var needs []pulumi.Resource
	for _, m := range h.Models {
		needs = append(needs, c.models[m.Name]...)
	}
	for _, e := range h.Engines {
		needs = append(needs, c.engines[e.Identity()]...)
	}
	if c.watch != nil {
		needs = append(needs, c.watch)
	}
	_, err = llmhost.NewAuditRules(ctx, auditName, &llmhost.AuditRulesArgs{
		Path:    pulumi.String(confinement.AuditPath),
		Content: pulumi.String(text),
	}, pulumi.Parent(c), pulumi.DependsOn(needs))
	if err != nil {
		return fmt.Errorf("declare the audit rules: %w", err)
	}
	return nil
}
