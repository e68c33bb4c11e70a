// Package lab makes throwaway hosts, so that what llmhost promises of a host is tested and shown
// on one.
//
// A lab host is a virtual machine under QEMU with a kernel, an init and a cgroup tree of its
// own: a sandbox or a memory limit is then what it is in production, which no container and no
// fake can claim. It is built once from Debian packages, booted once, and frozen with its disk
// and memory. Each host is resumed from there in seconds, writes to an overlay of its own, and
// reaches no network.
//
// For tests of SSH alone there is [StartSSHD], an OpenSSH server on loopback.
package lab
