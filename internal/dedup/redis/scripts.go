package redis

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"

	"github.com/oncegate/oncegate/internal/mutant"
)

// The steps as Lua. record.lua goes in front of every other.
var (
	//go:embed lua/record.lua
	recordSource string
	//go:embed lua/begin.lua
	beginSource string
	//go:embed lua/finish.lua
	finishSource string
	//go:embed lua/release.lua
	releaseSource string
	//go:embed lua/renew.lua
	renewSource string
	//go:embed lua/resolve.lua
	resolveSource string
	//go:embed lua/look.lua
	lookSource string
	//go:embed lua/erase.lua
	eraseSource string
	//go:embed lua/open.lua
	openSource string
	//go:embed lua/prove.lua
	proveSource string
)

// script is one step's whole text, and the name under which Redis knows it (SHA-1, by its protocol).
type script struct{ name, text, sha string }

type scripts struct{ begin, finish, release, renew, resolve, look, erase, prove, open *script }

// compile puts the scripts together. clockGiven is for tests: the last argument of every call is then the time.
func compile(clockGiven bool) scripts {
	flags := fmt.Sprintf("local CLOCK_GIVEN, TAKEOVER, LEASE_TTL, BLIND_FINISH = %t, %t, %t, %t\n",
		clockGiven, mutant.TakeoverExecutes, mutant.RecordDiesWithLease, mutant.BlindFinish)
	build := func(name, source string) *script {
		text := flags + recordSource + source
		sum := sha1.Sum([]byte(text))
		return &script{name: name, text: text, sha: hex.EncodeToString(sum[:])}
	}
	return scripts{
		begin:   build("begin", beginSource),
		finish:  build("finish", finishSource),
		release: build("release", releaseSource),
		renew:   build("renew", renewSource),
		resolve: build("resolve", resolveSource),
		look:    build("look", lookSource),
		erase:   build("erase", eraseSource),
		prove:   build("prove", proveSource),
		open:    build("open", openSource),
	}
}

func (s scripts) all() []*script {
	return []*script{s.begin, s.finish, s.release, s.renew, s.resolve, s.look, s.erase, s.prove, s.open}
}
