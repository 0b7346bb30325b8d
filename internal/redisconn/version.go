package redisconn

import (
	"strconv"
	"strings"
)

// The oldest Redis whose commands the scripts use (SET with PXAT).
const LeastMajor, LeastMinor = 6, 2

// TooOld reports that a server's version, as INFO names it, is older than that. One that can't be read counts as new enough.
func TooOld(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < LeastMajor || major == LeastMajor && minor < LeastMinor)
}
