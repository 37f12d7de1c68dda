package ingest

import "github.com/agentrisk/agentrisk/scoring"

// otlpName says what an attribute of this name means.
type otlpName struct {
	key   string
	use   otlpUse
	field scoring.FieldID // with useField
	// rank orders the names that can fill one field at one level; the lowest wins. 1 are our own names, 2 the current
	// names of OpenTelemetry, 3 and 4 the older ones and what stands in for lack of better.
	rank uint8
	kept bool     // it says more than the field: it stays an attribute too
	when otlpWhen // with useField; of other events it stays an attribute, or fills other
	// other is the field that it fills in those; the zero field is none.
	other scoring.FieldID
}

// otlpWhen says for which events an attribute fills its field.
type otlpWhen uint8

const (
	always otlpWhen = iota
	forModels
	forTools
	notForTools
)

// otlpUse is what is done with an attribute.
type otlpUse uint8

const (
	useField     otlpUse = iota
	useOperation         // gen_ai.operation.name: the kind
	useMethod            // mcp.method.name: the kind
	useEvent             // event.name: the kind of a log record
	useSystem            // system instructions: an event of its own
	useInput             // what the model was told: an event of its own
	useOutput            // what it answered: an event of its own
	useResult            // what a tool returned: an event of its own
	useDropped           // content that nothing is made of: never an attribute
	numUses
)

// Attributes that the Scope becomes, as OpenTelemetry names them outside of OTLP.
const (
	scopeName    = "otel.scope.name"
	scopeVersion = "otel.scope.version"
)

const statusError = 2 // STATUS_CODE_ERROR

// otlpTable is what attributes mean, beside our own dotted names, which are taken as they are.
var otlpTable = []otlpName{
	{key: "gen_ai.operation.name", use: useOperation, rank: 2, kept: true},
	{key: "mcp.method.name", use: useMethod, rank: 2, kept: true},
	{key: "event.name", use: useEvent, rank: 2},

	{key: "gen_ai.agent.id", field: scoring.FieldAgent, rank: 2},
	{key: "gen_ai.agent.name", field: scoring.FieldAgentName, rank: 2},
	{key: "gen_ai.agent.version", field: scoring.FieldAgentVersion, rank: 2},
	{key: "service.version", field: scoring.FieldAgentVersion, rank: 3, kept: true},
	{key: "service.instance.id", field: scoring.FieldAgentInstance, rank: 2},
	{key: "gen_ai.conversation.id", field: scoring.FieldSession, rank: 2},
	{key: "session.id", field: scoring.FieldSession, rank: 3},

	{key: "cloud.provider", field: scoring.FieldProvider, rank: 2},
	{key: "cloud.region", field: scoring.FieldRegion, rank: 2},
	{key: "cloud.account.id", field: scoring.FieldTenant, rank: 2},
	{key: "enduser.pseudo.id", field: scoring.FieldUser, rank: 2},
	{key: "enduser.id", field: scoring.FieldUser, rank: 3},
	{key: "log.record.uid", field: scoring.FieldEventID, rank: 2},

	{key: "gen_ai.provider.name", field: scoring.FieldLLMProvider, rank: 2},
	{key: "gen_ai.system", field: scoring.FieldLLMProvider, rank: 3},
	{key: "gen_ai.request.model", field: scoring.FieldModelRequested, rank: 2},
	{key: "gen_ai.response.model", field: scoring.FieldModelServed, rank: 2},
	{key: "gen_ai.usage.input_tokens", field: scoring.FieldTokensIn, rank: 2, when: forModels},
	{key: "gen_ai.usage.prompt_tokens", field: scoring.FieldTokensIn, rank: 3, when: forModels},
	{key: "gen_ai.usage.output_tokens", field: scoring.FieldTokensOut, rank: 2, when: forModels},
	{key: "gen_ai.usage.completion_tokens", field: scoring.FieldTokensOut, rank: 3, when: forModels},

	{key: "gen_ai.tool.name", field: scoring.FieldToolName, rank: 2},
	{key: "mcp.tool.name", field: scoring.FieldToolName, rank: 3},
	{key: "gen_ai.tool.type", field: scoring.FieldToolKind, rank: 2},
	{key: "gen_ai.tool.call.id", field: scoring.FieldToolCall, rank: 2},
	{key: "gen_ai.tool.call.arguments", field: scoring.FieldToolArgs, rank: 2},
	{key: "mcp.tool.arguments", field: scoring.FieldToolArgs, rank: 3},
	{key: "gen_ai.tool.call.result", use: useResult, rank: 2},
	{key: "mcp.tool.result", use: useResult, rank: 3},
	{key: "gen_ai.tool.definitions", use: useDropped, rank: 2},
	{key: "gen_ai.tool.description", use: useDropped, rank: 3},
	{key: "error.type", field: scoring.FieldToolErrorType, rank: 2, when: forTools},

	{key: "gen_ai.system_instructions", use: useSystem, rank: 2},
	{key: "gen_ai.input.messages", use: useInput, rank: 2},
	{key: "gen_ai.prompt", use: useInput, rank: 3},
	{key: "gen_ai.output.messages", use: useOutput, rank: 2},
	{key: "gen_ai.completion", use: useOutput, rank: 3},

	{key: "gen_ai.data_source.id", field: scoring.FieldResource, rank: 2},
	{key: "mcp.resource.uri", field: scoring.FieldResource, rank: 3},
	{key: "gen_ai.retrieval.documents", field: scoring.FieldContent, rank: 2},
	{key: "gen_ai.memory.records", field: scoring.FieldContent, rank: 3},
	{key: "gen_ai.memory.store.id", field: scoring.FieldMemStore, rank: 2},

	{key: "gen_ai.guardrail.security.risk.category", field: scoring.FieldGuardCategory, rank: 2},
	{key: "gen_ai.guardrail.security.risk.score", field: scoring.FieldGuardScore, rank: 2},
	{key: "gen_ai.guardrail.verdict.type", field: scoring.FieldGuardVerdict, rank: 2},

	{key: "process.command_line", field: scoring.FieldExecCmd, rank: 2},
	{key: "process.owner", field: scoring.FieldRuntimeUser, rank: 2},
	// The address of a tool's server is no destination that the call was about: where a call sends data is told by its
	// arguments.
	{key: "server.address", field: scoring.FieldToolServer, rank: 2, when: forTools, other: scoring.FieldDstHost},
	{key: "network.peer.address", field: scoring.FieldDstHost, rank: 3, when: notForTools},
	{key: "server.port", field: scoring.FieldDstPort, rank: 2, when: notForTools},
	{key: "network.peer.port", field: scoring.FieldDstPort, rank: 3, when: notForTools},
}

// Kinds that events are made of here.
const (
	kindModel  = "model_call"
	kindTool   = "tool_call"
	kindResult = "tool_result"
	kindSystem = "system_prompt"
	kindUser   = "user_message"
	kindAgent  = "agent_message"
	kindBegin  = "task_start"
	kindEnd    = "task_end"
	kindSpan   = "span" // a span that says nothing of an agent
	kindLog    = "log"  // a log record that does not
)

// applies reports whether the attribute fills its field in events of a kind.
func (w otlpWhen) applies(kind string) bool {
	tools := kind == kindTool || kind == kindResult || kind == "tool_list"
	return w == always || w == forModels && kind == kindModel || w == forTools && tools || w == notForTools && !tools
}

// standIns fill a field that nothing else fills, with an attribute that keeps its own meaning too.
var standIns = []struct {
	key   string
	field scoring.FieldID
}{
	{"gen_ai.agent.name", scoring.FieldAgent},
	{"service.name", scoring.FieldAgent},
}

// otlpKinds are the kinds of operations, methods and events; what is not listed is its own kind.
var otlpKinds = map[string]string{
	"chat": kindModel, "generate_content": kindModel, "text_completion": kindModel, "embeddings": kindModel,
	"execute_tool": kindTool,
	"invoke_agent": kindBegin, "invoke_workflow": kindBegin, "create_agent": "agent_start",
	"retrieval": "data_read", "search_memory": "memory_read",
	"create_memory": "memory_write", "create_memory_store": "memory_write", "update_memory": "memory_write",
	"upsert_memory": "memory_write", "delete_memory": "memory_write", "delete_memory_store": "memory_write",

	"tools/call": kindTool, "tools/list": "tool_list", "resources/read": "data_read",

	"gen_ai.system.message": kindSystem, "gen_ai.user.message": kindUser, "gen_ai.assistant.message": kindAgent,
	"gen_ai.tool.message": kindResult, "gen_ai.choice": kindAgent,
	"gen_ai.content.prompt": kindUser, "gen_ai.content.completion": kindAgent,
	"gen_ai.client.inference.operation.details": kindModel,
	"gen_ai.model.request":                      kindModel, "gen_ai.tool.call": kindTool, "gen_ai.tool.result": kindResult,
	"gen_ai.agent.invoke": kindBegin, "gen_ai.agent.result": kindEnd,
}

// otlpNames finds what an attribute means.
var otlpNames = func() map[string]*otlpName {
	m := map[string]*otlpName{}
	for id, f := range scoring.Fields {
		m[f.Name] = &otlpName{key: f.Name, field: scoring.FieldID(id), rank: 1}
	}
	for i := range otlpTable {
		m[otlpTable[i].key] = &otlpTable[i]
	}
	return m
}()
