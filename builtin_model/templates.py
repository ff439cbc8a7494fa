"""Forms of questions. `{x}` is a noun phrase such as "a monad"."""

CONCEPT = [
    "What is {x}?", "What is {x}?", "What's {x}?", "Explain {x}.", "Explain {x} to me.",
    "Can you explain {x}?", "Please explain {x}.", "Tell me about {x}.", "Describe {x}.",
    "What does {x} mean?", "Define {x}.", "How does {x} work?", "{x}?", "{x}, what is that?",
    "What exactly is {x}?", "So what is {x}?", "Could you explain {x}?", "What is meant by {x}?",
    "I do not understand {x}.", "I want to learn about {x}.", "Give me a definition of {x}.",
    "In simple words, what is {x}?", "How would you explain {x}?", "What do you know about {x}?",
    "Teach me {x}.", "Help me with {x}.", "Can you describe {x}?", "Write a paragraph about {x}.",
    "Explain {x} in simple words.", "Describe {x} in a few sentences.", "Do you know {x}?",
]  # fmt: skip
PLURAL = ["What are {x}?", "What are {x}?", "How do {x} work?", "What do {x} do?", "Explain {x}."]
SHORT = [
    "What is {x}, in one sentence?", "Explain {x} briefly.", "{x} in one sentence.",
    "Short answer: what is {x}?", "Explain {x} in one sentence.",
]  # fmt: skip
EXAMPLE = [
    "Show me an example of {x}.", "Give me an example of {x}.", "Example of {x}?",
    "Can you show {x} in code?", "Show {x} in Python.", "A concrete example of {x}, please.",
]  # fmt: skip
WHY = [
    "Why does {x} matter?", "Why is {x} useful?", "Why do we need {x}?", "What is {x} good for?",
    "What is the point of {x}?",
]  # fmt: skip

MORE_EXAMPLE = [
    "Give me a concrete example in Python.", "Give me a concrete example.", "Give me an example.",
    "Can you show an example?", "Show me some code.", "Example, please.", "Do you have an example?",
    "An example in Python, please.", "How does that look in code?", "Show me a concrete example.",
    "Could you show that with code?", "How would I write that in Python?", "Show it in Python.",
    "And an example?", "Can you give me a concrete example in Python?",
]  # fmt: skip
MORE_SHORT = [
    "Say it shorter.", "In one sentence, please.", "Shorter, please.", "Can you summarise that?",
    "Summarize it in one sentence.", "tl;dr?", "What is the short version?",
]  # fmt: skip
MORE_WHY = [
    "Why?", "Why does it matter?", "Why is that useful?", "What is it good for?",
    "Why would I need that?", "Why is that important?", "What is the point of it?",
]  # fmt: skip
MORE_AGAIN = [
    "Can you repeat that?", "Say that again, please.", "Repeat your last answer.", "Once more?",
]  # fmt: skip

ECHO = [
    "Repeat after me: {x}", "Say: {x}", "Echo this: {x}", "Write exactly this: {x}",
    "Repeat: {x}", "Copy this text: {x}",
]  # fmt: skip

OUT_OF_SCOPE = [
    "What is the capital of {city}?", "Who is {person}?", "Who was {person} {word}?",
    "How many people live in {city}?", "What is the weather like in {city}?",
    "Will it rain in {city} tomorrow?", "What is {number} times {other}?",
    "How much is {number} plus {other}?", "What is {number} divided by {other}?",
    "Who won the match in {city}?", "What happened in the year {number}?",
    "When was {person} born?", "How old is {person}?", "How tall is the {thing} in {city}?",
    "What is the best restaurant in {city}?", "How do I get to {city}?",
    "Give me a recipe for {food}.", "How do I cook {food}?", "How long does a {animal} live?",
    "What does a {animal} eat?", "Translate {word} into French.", "What does {word} mean?",
    "Write a poem about the {thing}.", "Write a story about {person} and the {thing}.",
    "What is the price of a {thing}?", "Where can I buy a {thing}?",
    "What is the stock price of {word}?",
    "What is the latest news from {city}?", "Who is the president of {word}?",
    "Which film did {person} make?", "Sing me a song about {city}.", "What time is it in {city}?",
    "How far is it from {city} to the moon?", "Why is the {thing} {word}?",
    "What is the population of {city}?", "Tell me about the history of {city}.",
    "Who invented the {thing}?", "Who wrote the book {word}?", "What is the {word} of a {thing}?",
    "Recommend a hotel in {city}.", "Plan a trip to {city} for me.",
    "Which medicine helps {person}?",
    "Solve this equation: {number} x = {other}.", "How do I repair a {thing}?",
]  # fmt: skip

SYSTEM = [
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.",
    "Answer in clear sentences.", "Be kind and honest.", "You are a teacher.",
    "You answer questions about programming and language models.", "Be concise.",
    "You are a friendly assistant that explains things simply.", "Answer the user's questions.",
]  # fmt: skip
BEFORE = [
    "Please, ", "Hello, ", "Hi! ", "Quick question: ", "I wonder, ", "Sorry, ", "Well, ", "So, ",
    "One more question: ", "Now tell me, ", "Hey, ", "Okay, ", "Thanks. ", "I have a question. ",
]  # fmt: skip
AFTER = [
    " Thanks.", " Thank you!", " Please.", " I am a beginner.", " Keep it simple.",
    " I need it for my work.", " Please help me.", " I read about it today.",
]  # fmt: skip
FILLERS = """
so um well maybe actually really heard hear boss friend colleague teacher mentioned said talked read
word term thing topic idea meaning know think understand learn study book class course exam today
yesterday again always never me my you your we they he she it the of to in on for with and but or if
when which who how why could would should can will let quick overview rundown detail beginner expert
curious wonder confused lost stuck help show want need like sort kind basically simply first new
work project team interview question please sorry right now here there some any much more good says
supposed picture look looks use used uses make made made bring brings keep keeps going happening
back really actually time times day week month morning evening forum video article slide page
somebody someone everybody nobody person newcomer professor chef manager user reader thing things
mean means meant write writes wrote written call called calls change changes find finds where while
before after during against between simple simply complicated magic strange special useful hard easy
""".split()

# Whole situations around a topic, known or not: the topic decides, never the form.
SITUATIONS = [
    "{x} sounds interesting. Tell me more.",
    "{x} is on my list for today. Where do I begin?",
    "{x} has been on my mind for a while, what is it?",
    "{x} is something I could never explain to others.",
    "{x} came up in the news. I have no clue what it is.",
    "{x} looks like magic to me. How does it really go?",
    "{x}, please, in a few sentences.",
    "{x} and I are no friends yet. Introduce us.",
    "{x} appears in every tutorial, so I should know it. What is it?",
    "{x}: can you give me the short course?",
    "My boss talked about {x} in a meeting. What is it?",
    "Yesterday a friend told me about {x}, but I could not follow him.",
    "There was a chapter about {x} in my book and I did not get it.",
    "In a job interview they asked me about {x}. What should I have answered?",
    "A colleague of mine loves {x}. Can you tell me what that means?",
    "My teacher uses the words {x} all the time. What does she mean by that?",
    "I have an exam tomorrow and {x} is in it. Please explain it.",
    "Everybody in my team seems to know {x}, only I do not.",
    "I read an article on {x} this morning. What is that about?",
    "Before I start: what would you say about {x}?",
    "Could you give me an idea of {x}?",
    "I never really understood {x}. Can you help?",
    "What should a beginner know about {x}?",
    "How would one describe {x} to a child?",
    "For my notes I need a few words on {x}.",
    "I came across {x} in some old code, what is it good for, what is it?",
    "Someone on the internet wrote that {x} is easy. What is it then?",
    "Is there an easy way to understand {x}?",
    "I always mix things up when it comes to {x}. What is it really?",
    "Let us talk about {x} for a moment.",
    "People keep using the term {x}. What are they talking about?",
    "Tell me, what is behind {x}?",
    "What is the idea behind {x}?",
    "What is so special about {x}?",
    "I would love to finally get {x}. How does it go?",
    "My homework is to describe {x}. How would you do that?",
    "Somewhere I saw {x} mentioned, could you clear it up for me?",
    "I know a little programming, but {x} is new to me.",
    "Can you put {x} into plain words?",
    "In your own words, what is {x}?",
    "What comes to your mind when you hear {x}?",
    "A student asked me about {x} and I had no answer.",
    "Please sketch {x} for me.",
    "What do experts mean when they say {x}?",
    "We use {x} at work every day. What exactly is that?",
    "Suppose I know nothing at all: what is {x}?",
    "I am looking at {x} right now. What am I looking at?",
    "Could somebody explain {x}, please?",
    "What happens in {x}? How is it made up?",
    "What role does {x} play?",
    "Whenever I read about {x}, I get lost after two lines.",
    "Why do so many people care about {x}? What is it?",
    "I wonder what {x} does.",
    "Does {x} mean anything to you?",
    "What job does {x} do?",
    "Which purpose does {x} have?",
    "Give me a picture of {x} that I can keep in mind.",
    "I stumbled over {x} while reading. What is it for?",
    "For a complete beginner, what kind of thing is {x}?",
    "How should I imagine {x}?",
]
CONTEXT_BEFORE = [
    "I am new here.", "I just started to learn this.", "My code does not work yet.",
    "I am writing a small program.", "We have a new project at work.", "I have a strange problem.",
    "I looked everywhere and found nothing.", "This may be a simple question.",
    "I am preparing a talk.", "My friend and I disagree.", "I am a bit confused today.",
    "I have been reading for hours.", "Nobody could explain this to me.", "I hope you can help me.",
    "I saw this in a video.", "It is my first day with this.", "I come from another field.",
    "The documentation was not clear to me.", "I forgot what we said in class.",
    "There is one thing I do not get.", "I am building a chat program.", "Maybe you know this.",
    "I only have a minute.", "Let me ask you something.", "I want to be sure.",
]  # fmt: skip
CONTEXT_AFTER = [
    "I have no idea.", "I am really curious.", "It came up again today.", "My boss wants to know.",
    "I only know the basics.", "What do you think?", "That would help me a lot.",
    "I could not find it anywhere.", "Take your time.", "It confuses me.", "I need it for a test.",
]  # fmt: skip

# Other ways to name a topic `{x}` (without its article).
RENAMED = [
    "the word {x}", "the term {x}", "the idea of {x}", "the concept of {x}", "the topic {x}",
    "the {x} thing", "the {x} idea", "this {x} business", "{x} stuff", "the {x} concept",
    "something called {x}", "these {x} things", "the {x} part", "the thing called {x}",
]  # fmt: skip
