"""What an answer must look like: JSON Schemas and tool calls as grammars over tokens."""
