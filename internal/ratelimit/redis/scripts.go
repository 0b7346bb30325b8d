package redis

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

// The scripts. clock.lua goes in front of every other.
var (
	//go:embed lua/clock.lua
	clockSource string
	//go:embed lua/bucket.lua
	bucketSource string
	//go:embed lua/window.lua
	windowSource string
	//go:embed lua/rolling.lua
	rollingSource string
	//go:embed lua/sit.lua
	sitSource string
	//go:embed lua/stay.lua
	staySource string
	//go:embed lua/leave.lua
	leaveSource string
	//go:embed lua/secret.lua
	secretSource string
	//go:embed lua/forget.lua
	forgetSource string
)

// script is a text and the name under which Redis knows it (SHA-1, by its protocol). Each has one key.
type script struct{ text, sha string }

var (
	bucketScript  = newScript(bucketSource)
	windowScript  = newScript(windowSource)
	rollingScript = newScript(rollingSource)
	sitScript     = newScript(sitSource)
	stayScript    = newScript(staySource)
	leaveScript   = newScript(leaveSource)
	secretScript  = newScript(secretSource)
	forgetScript  = newScript(forgetSource)
)

func newScript(source string) *script {
	text := clockSource + source
	sum := sha1.Sum([]byte(text))
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}
