package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/units"
)

// guessedKeys warns of API keys that anybody tries first.
func guessedKeys(doc *Document, root *node, file string) (list []Located) {
	for _, name := range slices.Sorted(maps.Keys(doc.APIKeys)) {
		for i, row := range doc.APIKeys[name].Keys {
			for j, digest := range row.SHA256 {
				if !auth.Guessable(digest) {
					continue
				}
				path := fmt.Sprintf("api_keys.%s.keys[%d].sha256", name, i)
				if n, _, _ := root.find(path); n.kind == listNode {
					path = fmt.Sprintf("%s[%d]", path, j)
				}
				at := locate(root, path, units.AtValue)
				list = append(list, Located{File: file, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(
					"is the hash of a key that anybody guesses: %.8s...; take another before others reach the gateway", digest)})
			}
		}
	}
	return list
}
