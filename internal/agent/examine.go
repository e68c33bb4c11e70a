package agent

import (
	"context"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/machine"
)

// Examine returns what the machine says of itself. It judges nothing: that is the caller's.
func (s *Server) Examine(ctx context.Context, req *agentpb.ExamineRequest) (*agentpb.ExamineResponse, error) {
	root := machine.Root("/")
	for _, folder := range req.GetFolders() {
		if err := validPath(folder); err != nil {
			return nil, err
		}
	}
	resp := &agentpb.ExamineResponse{}
	for _, e := range root.Examine(ctx) {
		resp.Evidence = append(resp.Evidence, &agentpb.Evidence{Source: e.Source, Text: e.Text, Error: e.Error, Absent: e.Absent})
	}
	for _, folder := range req.GetFolders() {
		f, err := root.ExamineFolder(ctx, folder)
		seen := &agentpb.FolderEvidence{
			Path: folder, Exists: f.Exists, Mode: f.Mode, FreeBytes: f.Free, TotalBytes: f.Total,
			MountPoint: f.MountPoint, FileSystem: f.FileSystem, Options: strings.Join(f.Options, ","), Protects: f.Protects,
		}
		if err != nil {
			seen.Error = err.Error()
		}
		resp.Folders = append(resp.Folders, seen)
	}
	return resp, nil
}
