package hostfile

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	// imageByDigest is the part of distribution's reference grammar that names one image for ever
	// (https://pkg.go.dev/github.com/distribution/reference).
	imageByDigest = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*@sha256:[0-9a-f]{64}$`)
	imageByID     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

	userAndGroup = regexp.MustCompile(`^[0-9]{1,9}:[0-9]{1,9}$`)
)

func parseImageReference(s string) (string, error) {
	switch {
	case imageByDigest.MatchString(s), imageByID.MatchString(s):
		return s, nil
	case !strings.Contains(s, "@") && s != "":
		return "", faultf(fmt.Sprintf("is %q, which names no digest", s),
			"A tag means another image tomorrow. Write NAME@sha256:DIGEST: docker buildx imagetools inspect %s prints the digest.", s)
	}
	return "", faultf(fmt.Sprintf("is %q, which is no image by digest", s), "Write NAME@sha256: and 64 lower-case hexadecimal digits.")
}

func parseContainerUser(s string) (string, error) {
	switch {
	case !userAndGroup.MatchString(s):
		return "", faultf(fmt.Sprintf("is %q, which is no UID:GID", s), "Write two numbers, such as %q.", "1000:1000")
	case strings.HasPrefix(s, "0:") || strings.HasSuffix(s, ":0"):
		return "", faultf(fmt.Sprintf("is %q, which is root", s), "A server isn't run as root. Write numbers such as %q.", "1000:1000")
	}
	return s, nil
}
