package config

import "testing"

// TestSchemaFileIsCurrent keeps the file that gateway.yaml's modeline names equal to what `gateway schema` prints.
func TestSchemaFileIsCurrent(t *testing.T) {
	golden(t, "../../docs/gateway.schema.json", string(Schema()))
}

// TestTheExampleIsGood: gateway.yaml runs as it is, without a variable set.
func TestTheExampleIsGood(t *testing.T) {
	result, err := LoadWith("../../gateway.yaml", func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if n := len(result.Document.Issuers); n != 2 {
		t.Errorf("the example has %d issuers, the tour needs 2", n)
	}
}
