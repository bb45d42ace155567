/**
 * A grammar of little stories: the training text, written by this project and by nobody else.
 *
 * A story draws its cast first (hero, place, wish, helper) and then tells one of five plots. Every later sentence
 * agrees with the cast: name, pronoun, place, colour and thing, helper. These are the long-range facts that a trigram
 * model cannot keep and that the small transformer has to learn.
 *
 * Choices are weighted (1/2, 1/3, 1/4, ...) and each list starts at a point that depends on the cast: a name has its
 * favourite kind, colour, food and mood, a place its favourite things and plots. So the most likely continuation is
 * clearly more likely than the next one (greedy text does not hang on rounding), it still differs from hero to hero, and
 * every name has a meaning of its own. Without that the names are interchangeable and learning to repeat the right one
 * takes the model many times longer.
 */
import type { Random } from './random.ts';
import { splitWords } from './words.ts';

interface Pronouns {
  readonly they: string;
  readonly them: string;
  readonly their: string;
  readonly child: string;
  readonly ruler: string;
}

const SHE: Pronouns = { they: 'she', them: 'her', their: 'her', child: 'girl', ruler: 'queen' };
const HE: Pronouns = { they: 'he', them: 'him', their: 'his', child: 'boy', ruler: 'king' };

interface Place {
  readonly noun: string;
  /** The preposition: *in* the village, *on* the island. */
  readonly at: string;
  readonly looks: readonly string[];
}

interface Thing {
  readonly noun: string;
  /** What one does with it: to *fly* it, she *flew* it, and where or how. */
  readonly use: string;
  readonly used: string;
  readonly how: (cast: Cast) => string;
  readonly madeOf: string;
}

interface Helper {
  readonly noun: string;
  readonly looks: readonly string[];
}

interface Obstacle {
  /** Told by the narrator: "But ... ". */
  readonly told: string;
  /** Told by the hero: "I want to find it, but ...". */
  readonly complaint: string;
  /** How the helper overcomes it. */
  readonly solved: (cast: Cast) => string;
}

interface Job {
  readonly master: string;
  readonly work: string;
}

/** Who and what a story is about; drawn once, used to the end. */
interface Cast {
  readonly name: string;
  readonly pronouns: Pronouns;
  readonly kind: string;
  readonly trait: string;
  readonly place: Place;
  readonly placeLook: string;
  readonly thing: Thing;
  readonly colour: string;
  readonly helper: Helper;
  readonly helperLook: string;
  readonly spot: string;
  readonly food: string;
  /** Move the starting points of the lists: `taste` belongs to the hero's name, `turn` to the place. */
  readonly taste: number;
  readonly turn: number;
}

const SHE_NAMES = ['Mia', 'Lily', 'Ruby', 'Nora', 'Ella', 'Rosie', 'Daisy', 'Anna', 'Poppy', 'Luna'] as const;
const HE_NAMES = ['Tom', 'Ben', 'Max', 'Leo', 'Finn', 'Sam', 'Oscar', 'Jack', 'Toby', 'Hugo'] as const;

/** Every hero name of the grammar. */
export const HERO_NAMES: readonly string[] = [...SHE_NAMES, ...HE_NAMES];

/** Hero kinds; `child` becomes girl or boy. */
const KINDS = [
  'child',
  'fox',
  'rabbit',
  'mouse',
  'bear',
  'cat',
  'squirrel',
  'hedgehog',
  'duck',
  'frog',
  'goat',
] as const;
/** Every trait of a hero. */
export const TRAITS: readonly string[] = ['shy', 'brave', 'curious', 'cheerful', 'clever', 'gentle', 'lively'];

/** Every noun for what a hero is. */
export const KIND_NOUNS: readonly string[] = [...KINDS.slice(1), SHE.child, HE.child];

const PLACES: readonly Place[] = [
  { noun: 'village', at: 'in', looks: ['quiet', 'small'] },
  { noun: 'forest', at: 'in', looks: ['dark', 'deep'] },
  { noun: 'island', at: 'on', looks: ['windy', 'lonely'] },
  { noun: 'valley', at: 'in', looks: ['wide', 'sunny'] },
  { noun: 'farm', at: 'on', looks: ['big', 'busy'] },
  { noun: 'castle', at: 'in', looks: ['large', 'old'] },
  { noun: 'lake', at: 'by', looks: ['deep', 'quiet'] },
  { noun: 'meadow', at: 'in', looks: ['sunny', 'wide'] },
  { noun: 'mountain', at: 'on', looks: ['tall', 'windy'] },
  { noun: 'harbour', at: 'by', looks: ['busy', 'small'] },
  { noun: 'garden', at: 'in', looks: ['lovely', 'quiet'] },
  { noun: 'town', at: 'in', looks: ['busy', 'big'] },
];

/** Every place noun of the grammar. They occur only as the home of the hero. */
export const PLACE_NOUNS: readonly string[] = PLACES.map((place) => place.noun);

const THINGS: readonly Thing[] = [
  { noun: 'kite', use: 'fly', used: 'flew', how: (c) => `over the ${c.place.noun}`, madeOf: 'paper and string' },
  { noun: 'boat', use: 'sail', used: 'sailed', how: () => 'down the river', madeOf: 'wood and cloth' },
  { noun: 'drum', use: 'play', used: 'played', how: (c) => `for everyone ${home(c)}`, madeOf: 'wood and leather' },
  { noun: 'bell', use: 'ring', used: 'rang', how: () => 'at sunrise', madeOf: 'metal and string' },
  { noun: 'lantern', use: 'light', used: 'lit', how: () => 'after sunset', madeOf: 'paper and metal' },
  { noun: 'ball', use: 'throw', used: 'threw', how: () => 'high into the air', madeOf: 'leather and cloth' },
  { noun: 'scarf', use: 'wear', used: 'wore', how: () => 'in the snow', madeOf: 'soft wool' },
  { noun: 'hat', use: 'wear', used: 'wore', how: () => 'in the sun', madeOf: 'straw and wool' },
  { noun: 'book', use: 'read', used: 'read', how: () => 'under a tree', madeOf: 'paper and leather' },
  { noun: 'wagon', use: 'pull', used: 'pulled', how: (c) => `around the ${c.place.noun}`, madeOf: 'wood and metal' },
  { noun: 'crown', use: 'wear', used: 'wore', how: (c) => `like a ${c.pronouns.ruler}`, madeOf: 'flowers and straw' },
  { noun: 'umbrella', use: 'carry', used: 'carried', how: () => 'in the rain', madeOf: 'cloth and metal' },
  { noun: 'flute', use: 'play', used: 'played', how: () => 'for the birds', madeOf: 'smooth wood' },
];

/** Every wished thing of the grammar. */
export const THING_NOUNS: readonly string[] = THINGS.map((thing) => thing.noun);

/** Every colour of a thing. */
export const COLOURS: readonly string[] = ['red', 'blue', 'golden', 'green', 'silver', 'yellow', 'purple', 'white'];

/** Helpers are other animals than the heroes; they have no names. */
const HELPERS: readonly Helper[] = [
  { noun: 'owl', looks: ['wise', 'old'] },
  { noun: 'beaver', looks: ['busy', 'friendly'] },
  { noun: 'turtle', looks: ['slow', 'old'] },
  { noun: 'snail', looks: ['tiny', 'slow'] },
  { noun: 'deer', looks: ['tall', 'friendly'] },
  { noun: 'goose', looks: ['noisy', 'white'] },
  { noun: 'badger', looks: ['grumpy', 'large'] },
  { noun: 'donkey', looks: ['grey', 'sleepy'] },
  { noun: 'sparrow', looks: ['tiny', 'noisy'] },
  { noun: 'mole', looks: ['sleepy', 'grey'] },
];

/** Every helper of the grammar. */
export const HELPER_NOUNS: readonly string[] = HELPERS.map((helper) => helper.noun);

/** Where lost and wanted things are found. No word of PLACE_NOUNS may occur here. */
const SPOTS = [
  'behind the waterfall',
  'under the old bridge',
  'inside a dark cave',
  'at the top of the tower',
  'beside the well',
  'in a hollow tree',
  'behind the mill',
  'at the foot of the hill',
] as const;

const FOODS = ['some bread', 'a sweet apple', 'some cheese', 'a honey cake', 'a bag of nuts', 'three berries'] as const;
const GIVERS = ['grandmother', 'father', 'uncle', 'mother', 'grandfather', 'aunt'] as const;
const COINS = ['three', 'five', 'seven', 'ten'] as const;

const OBSTACLES: readonly Obstacle[] = [
  {
    told: 'the river was too wide',
    complaint: 'the river is too wide',
    solved: (c) => `The ${c.helper.noun} knew where the water was low, and showed ${c.pronouns.them} a row of stones.`,
  },
  {
    told: 'a fallen tree lay across the path',
    complaint: 'a tree lies across the path',
    solved: (c) => `The ${c.helper.noun} pushed and ${c.name} pulled, and at last the tree rolled away.`,
  },
  {
    told: 'it soon grew too dark to see',
    complaint: 'it is too dark to see',
    solved: (c) => `The ${c.helper.noun} called a hundred little fireflies, and they lit the way.`,
  },
  {
    told: 'a great storm began',
    complaint: 'the storm is too strong',
    solved: (c) => `The ${c.helper.noun} found a dry corner, and they waited there until the storm was over.`,
  },
  {
    told: 'the gate was locked',
    complaint: 'the gate is locked',
    solved: (c) => `The ${c.helper.noun} looked under every stone and found the key.`,
  },
];

const JOBS: readonly Job[] = [
  { master: 'baker', work: 'carried flour' },
  { master: 'farmer', work: 'fed the hens' },
  { master: 'fisherman', work: 'mended the nets' },
  { master: 'tailor', work: 'swept the floor' },
  { master: 'miller', work: 'washed the windows' },
];

/** One seeded draw of weighted choices. */
class Chooser {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /**
   * An element; element `turn` (modulo the length) has weight 1/2, the next one 1/3, then 1/4, ...
   * A larger `first` flattens the weights: 1/first, 1/(first + 1), ...
   */
  pick<T>(options: readonly T[], turn = 0, first = 2): T {
    let total = 0;
    for (let i = 0; i < options.length; i++) total += 1 / (i + first);
    let left = this.#random() * total;
    for (let i = 0; i < options.length; i++) {
      left -= 1 / (i + first);
      if (left < 0 || i === options.length - 1) return options[(i + turn) % options.length] as T;
    }
    throw new RangeError('Chooser.pick: options must not be empty.');
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.#random() < probability;
  }
}

const article = (word: string): string => (/^[aeiou]/.test(word) ? `an ${word}` : `a ${word}`);
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const home = (c: Cast): string => `${c.place.at} the ${c.place.noun}`;
const wish = (c: Cast): string => `${c.colour} ${c.thing.noun}`;
const They = (c: Cast): string => capital(c.pronouns.they);

function drawCast(chooser: Chooser): Cast {
  const isGirl = chooser.chance(0.5);
  const pronouns = isGirl ? SHE : HE;
  const name = chooser.pick<string>(isGirl ? SHE_NAMES : HE_NAMES, 0, 8);
  const nameTurn = HERO_NAMES.indexOf(name);
  const kind = chooser.pick(KINDS, nameTurn);
  const kindTurn = KINDS.indexOf(kind);
  const place = chooser.pick(PLACES, kindTurn);
  const placeTurn = PLACES.indexOf(place);
  const thing = chooser.pick(THINGS, placeTurn);
  const thingTurn = THINGS.indexOf(thing);
  const helper = chooser.pick(HELPERS, thingTurn);
  return {
    name,
    pronouns,
    kind: kind === 'child' ? pronouns.child : kind,
    trait: chooser.pick(TRAITS, kindTurn),
    place,
    placeLook: chooser.pick(place.looks),
    thing,
    colour: chooser.pick(COLOURS, nameTurn),
    helper,
    helperLook: chooser.pick(helper.looks),
    spot: chooser.pick(SPOTS, thingTurn),
    food: chooser.pick(FOODS, nameTurn),
    taste: nameTurn,
    turn: placeTurn,
  };
}

/** Names the hero and the place, always both. */
function opening(chooser: Chooser, c: Cast): string {
  const where = `${c.place.at} ${article(c.placeLook)} ${c.place.noun}`;
  return chooser.pick([
    `Once upon a time, there was a ${c.trait} little ${c.kind} named ${c.name}. ${c.name} lived ${where}.`,
    `Once upon a time, a ${c.trait} ${c.kind} named ${c.name} lived ${where}.`,
    `Long ago, ${where}, there lived a ${c.trait} ${c.kind} named ${c.name}.`,
    `${capital(where)} lived a ${c.trait} little ${c.kind} named ${c.name}.`,
  ]);
}

function dailyLife(chooser: Chooser, c: Cast): string {
  return chooser.pick(
    [
      `Every morning, ${c.pronouns.they} walked around the ${c.place.noun} and said hello to everyone.`,
      `Everyone ${home(c)} knew ${c.name}, because ${c.pronouns.they} was always kind.`,
      `The ${c.place.noun} was full of flowers, and ${c.name} loved every one of them.`,
      `${They(c)} liked to sing, and all the birds ${home(c)} sang along.`,
      `At night, ${c.pronouns.they} looked at the stars over the ${c.place.noun}.`,
    ],
    c.taste,
  );
}

function longing(chooser: Chooser, c: Cast): string {
  const wanted = chooser.pick(
    [
      `More than anything, ${c.name} wanted ${article(c.colour)} ${c.thing.noun}.`,
      `${c.name} had only one wish, and that was ${article(c.colour)} ${c.thing.noun}.`,
      `All winter long, ${c.name} dreamed of ${article(c.colour)} ${c.thing.noun}.`,
    ],
    c.turn,
  );
  return chooser.chance(0.7) ? `${wanted} ${They(c)} wanted to ${c.thing.use} it ${c.thing.how(c)}.` : wanted;
}

function meeting(chooser: Chooser, c: Cast): string {
  const helper = `${article(c.helperLook)} ${c.helper.noun}`;
  return chooser.pick(
    [
      `Just then, ${helper} came by.`,
      `Then ${c.pronouns.they} saw ${helper} on the path.`,
      `Suddenly, ${c.pronouns.they} heard a soft voice. It was ${helper}.`,
    ],
    c.turn,
  );
}

function sorrow(chooser: Chooser, c: Cast): string {
  return chooser.pick(
    [
      `${c.name} sat down on a stone and began to cry.`,
      `${c.name} did not know what to do.`,
      `${c.name} was so sad that ${c.pronouns.they} could not speak.`,
    ],
    c.taste,
  );
}

function joy(chooser: Chooser, c: Cast): string {
  return chooser.pick(
    [
      `${c.name} was so happy that ${c.pronouns.they} danced with the ${c.helper.noun}.`,
      `${c.name} laughed and hugged the ${c.helper.noun}.`,
      `“It is the most beautiful ${c.thing.noun} in the world,” said ${c.name}.`,
    ],
    c.taste,
  );
}

function oneDay(chooser: Chooser, c: Cast): string {
  return chooser.pick(['One day', 'One morning', 'One spring day', 'One rainy evening'], c.taste);
}

/** The wished thing is far away; something stands in the way. */
function questPlot(chooser: Chooser, c: Cast): string[] {
  const obstacle = chooser.pick(OBSTACLES, c.turn);
  const story = [
    longing(chooser, c),
    `${oneDay(chooser, c)}, a little bird said that there was ${article(c.colour)} ${c.thing.noun} ${c.spot}.`,
    `So ${c.name} packed ${c.food} and left the ${c.place.noun}.`,
    `But ${obstacle.told}.`,
  ];
  if (chooser.chance(0.35)) story.push(sorrow(chooser, c));
  story.push(
    meeting(chooser, c),
    `“Why are you sad?” asked the ${c.helper.noun}.`,
    `“I want to find the ${wish(c)}, but ${obstacle.complaint},” said ${c.name}.`,
  );
  if (chooser.chance(0.65)) {
    story.push(`The ${c.helper.noun} looked hungry, so ${c.name} gave the ${c.helper.noun} ${c.food}.`);
    if (chooser.chance(0.35)) story.push(`“You are kind, and I will help you,” said the ${c.helper.noun}.`);
  }
  story.push(
    obstacle.solved(c),
    chooser.pick(
      [`And there, ${c.spot}, was the ${wish(c)}!`, `Together they looked ${c.spot}, and there was the ${wish(c)}!`],
      c.turn,
    ),
    joy(chooser, c),
    `Then ${c.pronouns.they} carried the ${c.thing.noun} all the way back to the ${c.place.noun}.`,
  );
  if (chooser.chance(0.35)) story.push(`Now ${c.name} knew that a good friend makes every road short.`);
  return story;
}

/** The hero owns the thing, loses it and finds it again. */
function lostPlot(chooser: Chooser, c: Cast): string[] {
  const giver = chooser.pick(GIVERS, c.turn);
  const story = [
    `For ${c.pronouns.their} birthday, ${c.name} got ${article(c.colour)} ${c.thing.noun} from ${c.pronouns.their} ${giver}.`,
    chooser.pick(
      [
        `${They(c)} ${c.thing.used} it ${c.thing.how(c)} and was very proud.`,
        `${They(c)} loved it more than anything and ${c.thing.used} it ${c.thing.how(c)}.`,
      ],
      c.turn,
    ),
    chooser.pick(
      [
        `But one windy day, the ${wish(c)} was gone.`,
        `But one morning, ${c.name} woke up and could not find the ${wish(c)}.`,
        `But one evening, a naughty monkey took the ${wish(c)} and ran away.`,
      ],
      c.turn,
    ),
    `${c.name} looked in every corner of the ${c.place.noun}, but the ${c.thing.noun} was not there.`,
  ];
  if (chooser.chance(0.35)) story.push(sorrow(chooser, c));
  story.push(
    meeting(chooser, c),
    `“Have you seen my ${wish(c)}?” asked ${c.name}.`,
    chooser.pick(
      [
        `“No, but I will help you,” said the ${c.helper.noun}.`,
        `“I saw something ${c.colour} ${c.spot},” said the ${c.helper.noun}.`,
      ],
      c.turn,
    ),
  );
  if (chooser.chance(0.35)) story.push(`They looked behind the stones and under the leaves.`);
  story.push(
    `At last, they found the ${wish(c)} ${c.spot}.`,
    joy(chooser, c),
    `To say thank you, ${c.name} gave the ${c.helper.noun} ${c.food}.`,
  );
  if (chooser.chance(0.35)) {
    story.push(`When ${c.pronouns.their} ${giver} heard the story, ${c.pronouns.their} ${giver} smiled.`);
  }
  return story;
}

/** The hero makes the thing, fails, and tries again. */
function makingPlot(chooser: Chooser, c: Cast): string[] {
  const story = [
    longing(chooser, c),
    `But nobody ${home(c)} had one, so ${c.name} decided to make it.`,
    `${oneDay(chooser, c)}, ${c.pronouns.they} found ${c.thing.madeOf} ${c.spot}.`,
    `${They(c)} worked all day, but in the evening the ${c.thing.noun} fell apart.`,
  ];
  if (chooser.chance(0.35)) story.push(sorrow(chooser, c));
  story.push(
    meeting(chooser, c),
    `“What is wrong?” asked the ${c.helper.noun}.`,
    `“I cannot make ${article(c.colour)} ${c.thing.noun},” said ${c.name}.`,
    chooser.pick(
      [
        `“Do not give up,” said the ${c.helper.noun}. “Try again, and take your time.”`,
        `“Let us try it together,” said the ${c.helper.noun}.`,
      ],
      c.turn,
    ),
    `So they shared ${c.food} and began again.`,
    `The ${c.helper.noun} held the ${c.thing.madeOf}, and ${c.name} worked slowly and with care.`,
    chooser.pick(
      [`When the sun went down, the ${wish(c)} was ready.`, `After three days, the ${wish(c)} was ready.`],
      c.turn,
    ),
    joy(chooser, c),
  );
  if (chooser.chance(0.35)) story.push(`Now ${c.name} knew that it is good to try again.`);
  return story;
}

/** The hero earns coins for the thing, and gives them away. */
function givingPlot(chooser: Chooser, c: Cast): string[] {
  const coins = chooser.pick(COINS, c.turn);
  const job = chooser.pick(JOBS, c.turn);
  const story = [
    longing(chooser, c),
    `There was one at the market, but it cost ${coins} coins.`,
    `So ${c.name} went to the ${job.master} and ${job.work} for ${coins} days.`,
    `At the end, the ${job.master} gave ${c.pronouns.them} ${coins} coins.`,
    `On the way to the market, ${c.pronouns.they} met ${article(c.helperLook)} ${c.helper.noun}.`,
    chooser.pick(
      [`“I am so hungry,” said the ${c.helper.noun}.`, `“I am cold and I have no home,” said the ${c.helper.noun}.`],
      c.turn,
    ),
    `${c.name} thought of the ${wish(c)} for a long time.`,
    `Then ${c.pronouns.they} gave the ${coins} coins to the ${c.helper.noun} and went home to the ${c.place.noun}.`,
  ];
  if (chooser.chance(0.35)) story.push(`${They(c)} had no ${c.thing.noun}, but ${c.pronouns.their} heart was warm.`);
  story.push(
    `The next morning, there was a knock at the door.`,
    `It was the ${c.helper.noun} with the ${wish(c)}!`,
    chooser.pick(
      [
        `“You helped me, and now I want to help you,” said the ${c.helper.noun}.`,
        `“This is for you, because you are kind,” said the ${c.helper.noun}.`,
      ],
      c.turn,
    ),
    joy(chooser, c),
  );
  if (chooser.chance(0.35)) story.push(`Even the ${job.master} heard about it and was glad.`);
  return story;
}

/** The hero does not want to share, and is sorry later. */
function sharingPlot(chooser: Chooser, c: Cast): string[] {
  const giver = chooser.pick(GIVERS, c.turn + 1);
  const story = [
    `${c.name} had ${article(c.colour)} ${c.thing.noun}, a present from ${c.pronouns.their} ${giver}.`,
    `Every day, ${c.pronouns.they} ${c.thing.used} it ${c.thing.how(c)}.`,
    `${oneDay(chooser, c)}, ${article(c.helperLook)} ${c.helper.noun} came to the ${c.place.noun}.`,
    `“May I ${c.thing.use} the ${wish(c)} too?” asked the ${c.helper.noun}.`,
    `“No, it is mine,” said ${c.name}, and the ${c.helper.noun} went away.`,
    chooser.pick(
      [
        `Soon nobody ${home(c)} wanted to play with ${c.name}.`,
        `From then on, ${c.name} was always alone with the ${c.thing.noun}.`,
      ],
      c.turn,
    ),
  ];
  if (chooser.chance(0.35)) story.push(`“You must say that you are sorry,” said ${c.pronouns.their} ${giver}.`);
  if (chooser.chance(0.35)) story.push(sorrow(chooser, c));
  story.push(
    `So ${c.name} packed ${c.food} and went to look for the ${c.helper.noun}.`,
    `${They(c)} found the ${c.helper.noun} ${c.spot}.`,
    `“I am sorry,” said ${c.name}. “We can ${c.thing.use} it together.”`,
    chooser.pick(
      [
        `The ${c.helper.noun} smiled, and they shared ${c.food}.`,
        `“Thank you,” said the ${c.helper.noun}, and they shared ${c.food}.`,
      ],
      c.turn,
    ),
    joy(chooser, c),
  );
  if (chooser.chance(0.35)) story.push(`Now ${c.name} knew that it is better to share.`);
  return story;
}

/** Comes back to the hero, the thing, the helper and the place. */
function ending(chooser: Chooser, c: Cast): string {
  const after = chooser.pick(
    [
      `From that day on, ${c.name} ${c.thing.used} the ${wish(c)} ${c.thing.how(c)}, and the ${c.helper.noun} always came along.`,
      `After that, ${c.name} and the ${c.helper.noun} were best friends.`,
      `That evening, ${c.name} ${c.thing.used} the ${wish(c)} ${c.thing.how(c)}, and the ${c.helper.noun} watched.`,
    ],
    c.turn,
  );
  const last = chooser.pick(
    [
      `And everyone ${home(c)} was happy for the ${c.trait} little ${c.kind}.`,
      `That night, the ${c.trait} ${c.kind} slept well, with the ${wish(c)} beside ${c.pronouns.them}.`,
      `And if you come to the ${c.place.noun}, you can still see ${c.name} with the ${wish(c)}.`,
      `And so the ${c.trait} little ${c.kind} lived happily ${home(c)}.`,
    ],
    c.taste,
  );
  return `${after} ${last}`;
}

const PLOTS = [questPlot, lostPlot, makingPlot, givingPlot, sharingPlot] as const;

/** One story as ordinary English text, about 150 to 260 tokens. */
export function tellStory(random: Random): string {
  const chooser = new Chooser(random);
  const cast = drawCast(chooser);
  const sentences = [opening(chooser, cast)];
  if (chooser.chance(0.4)) sentences.push(dailyLife(chooser, cast));
  sentences.push(...chooser.pick(PLOTS, cast.turn)(chooser, cast), ending(chooser, cast));
  return sentences.join(' ');
}

/** Longest story in tokens; a prompt and 200 more tokens then fit the model's context. */
export const LONGEST_STORY = 240;

/** `count` different stories of at most LONGEST_STORY tokens, none of them in `exclude`. */
export function tellStories(random: Random, count: number, exclude: ReadonlySet<string> = new Set()): string[] {
  const told = new Set<string>();
  while (told.size < count) {
    const story = tellStory(random);
    if (!exclude.has(story) && splitWords(story).length <= LONGEST_STORY) told.add(story);
  }
  return [...told];
}
