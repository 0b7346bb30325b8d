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
	//go:embed lua/prove.lua
	proveSource string
)

// script is one step's whole text, and the name under which Redis knows it (SHA-1, by its protocol).
type script struct{ name, text, sha string }

type scripts struct{ begin, finish, release, renew, resolve, look, erase, prove *script }

// compile puts the scripts together. clockGiven is for tests: the last argument of every call is then the time.
func compile(clockGiven bool) scripts {
	flags := fmt.Sprintf("local CLOCK_GIVEN, TAKEOVER, LEASE_TTL, BLIND_FINISH = %t, %t, %t, %t\n",
		clockGiven, mutant.TakeoverExecutes, mutant.RecordDiesWithLease, mutant.BlindFinish)
	make := func(name, source string) *script {
		text := flags + recordSource + source
		sum := sha1.Sum([]byte(text))
		return &script{name: name, text: text, sha: hex.EncodeToString(sum[:])}
	}
	return scripts{
		begin:   make("begin", beginSource),
		finish:  make("finish", finishSource),
		release: make("release", releaseSource),
		renew:   make("renew", renewSource),
		resolve: make("resolve", resolveSource),
		look:    make("look", lookSource),
		erase:   make("erase", eraseSource),
		prove:   make("prove", proveSource),
	}
}

func (s scripts) all() []*script {
	return []*script{s.begin, s.finish, s.release, s.renew, s.resolve, s.look, s.erase, s.prove}
}
