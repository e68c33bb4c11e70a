package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	gogen "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"

	"github.com/llmhost/llmhost/internal/provider"
)

// generate makes the schema and the Go SDK from it: content by path below internal/sdk.
func generate(ctx context.Context) (map[string][]byte, error) {
	spec, err := p.GetSchema(ctx, provider.Name, provider.Version, provider.New())
	if err != nil {
		return nil, fmt.Errorf("read the provider's schema: %w", err)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(spec); err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	pkg, err := schema.ImportSpec(spec, nil, schema.NewNullLoader(), schema.ValidationOptions{})
	if err != nil {
		return nil, fmt.Errorf("check the schema: %w", err)
	}
	files, err := gogen.GeneratePackage("internal/sdk/gen", pkg, nil)
	if err != nil {
		return nil, fmt.Errorf("generate the Go SDK: %w", err)
	}
	out := map[string][]byte{"schema.json": text.Bytes()}
	for name, content := range files {
		// The config package reads the settings of a default provider. llmhost has none: each
		// host has one explicit provider.
		if name = path.Clean(name); strings.HasPrefix(name, "llmhost/") && !strings.HasPrefix(name, "llmhost/config/") {
			out[name] = content
		}
	}
	return out, nil
}
