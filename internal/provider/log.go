package provider

import (
	"context"

	p "github.com/pulumi/pulumi-go-provider"
)

// progressf shows what is going on beside the resource, until the next status replaces it.
func progressf(ctx context.Context, format string, args ...any) {
	p.GetLogger(ctx).InfoStatusf(format, args...)
}

// warn tells the user something that stays on the screen.
func warn(ctx context.Context, message string) {
	p.GetLogger(ctx).Warning(message)
}
