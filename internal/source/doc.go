// Package source opens the places that a model's bytes come from: files of this machine, an
// https address, a repository on a hub, another host.
//
// It exists so that whoever sends a model doesn't care where it is: every place is a
// [transfer.Source], which lists its files, reads each from any offset, and fails rather than
// return other bytes than it has listed. A place is asked only for what is needed, and nothing is
// kept on a disk on the way.
package source
