package redact

import "github.com/agentrisk/agentrisk/scoring"

// Identifiers are the fields that are kept as they were sent unless a policy says otherwise, each with the reason. Their
// values join rows, so a mask that took a number for a telephone would join what does not belong together; that none of
// them holds a secret or a person's data is the provider's part of the contract.
var Identifiers = map[scoring.FieldID]string{
	scoring.FieldEventID:          "joins a row and the provider's own log",
	scoring.FieldProvider:         "the binding's, checked against the configuration",
	scoring.FieldTenant:           "pseudonym by contract; sorting key, and the key of all state",
	scoring.FieldUser:             "pseudonym by contract; joins the tasks of one person",
	scoring.FieldAgent:            "id by contract; sorting key, and the key of all state",
	scoring.FieldAgentInstance:    "id by contract; joins the events of one process",
	scoring.FieldAgentParent:      "id by contract; joins delegations",
	scoring.FieldSession:          "id by contract; the key of session state",
	scoring.FieldTrace:            "id by contract; joins a row and the provider's traces",
	scoring.FieldCorrelation:      "id by contract; joins a workflow",
	scoring.FieldCausation:        "id by contract; joins cause and effect",
	scoring.FieldTask:             "id by contract; joins the events of one mandate",
	scoring.FieldToolCall:         "id by contract; joins a call and its result",
	scoring.FieldApprover:         "pseudonym by contract; scheduled rules count the approvals of one person",
	scoring.FieldPrincipal:        "SPIFFE id, DID or role by contract; joins the acts of one identity",
	scoring.FieldCredential:       "fingerprint by contract; one credential at many agents is a finding",
	scoring.FieldResourceTenant:   "pseudonym by contract; compared with the tenant",
	scoring.FieldPeer:             "id by contract; joins the two ends of a message",
	scoring.FieldSourceIDs:        "ids of events",
	scoring.FieldAgentCharter:     "hash by contract, compared for equality",
	scoring.FieldApprovalArgsHash: "hash by contract, compared for equality",
	scoring.FieldToolArgsHash:     "hash by contract, compared for equality",
	scoring.FieldToolDefHash:      "hash by contract, compared for equality",
	scoring.FieldToolDefPinned:    "hash by contract, compared for equality",
	scoring.FieldPkgHash:          "hash by contract, compared for equality",
	scoring.FieldPeerSimhash:      "hash by contract, compared for nearness",
	scoring.FieldOutSimhash:       "hash by contract, compared for nearness",
}
